"""Butcher tableaus as data, each with its source."""

from node_cli.ode.dopri8_dense import EXTRA, INTERIOR
from node_cli.ode.tableau import Tableau


def _fsal(b: tuple[float, ...]) -> tuple[float, ...]:
    return (*b, 0.0)


# L. Euler, "Institutionum calculi integralis", vol. 1 (1768), ch. 7.
EULER = Tableau(order=1, c=(0.0,), a=((),), b=(1.0,))

# C. Runge, "Ueber die numerische Aufloesung von Differentialgleichungen", Math. Ann. 46 (1895).
MIDPOINT = Tableau(order=2, c=(0.0, 1 / 2), a=((), (1 / 2,)), b=(0.0, 1.0))

# K. Heun, "Neue Methoden zur approximativen Integration ...", Z. Math. Phys. 45 (1900).
HEUN2 = Tableau(order=2, c=(0.0, 1.0), a=((), (1.0,)), b=(1 / 2, 1 / 2))
HEUN3 = Tableau(
    order=3, c=(0.0, 1 / 3, 2 / 3), a=((), (1 / 3,), (0.0, 2 / 3)), b=(1 / 4, 0.0, 3 / 4)
)

# W. Kutta, "Beitrag zur naeherungsweisen Integration ...", Z. Math. Phys. 46 (1901): the 3/8 rule.
RK4 = Tableau(
    order=4,
    c=(0.0, 1 / 3, 2 / 3, 1.0),
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
)

# Heun's method of order 2 with Euler's embedded.
ADAPTIVE_HEUN = Tableau(order=2, c=HEUN2.c, a=HEUN2.a, b=HEUN2.b, b_error=(1 / 2 - 1, 1 / 2))

# E. Fehlberg, "Low-order classical Runge-Kutta formulas with stepsize control", NASA TR R-315
# (1969), Table I: RK1(2), its second-order solution carried on.
FEHLBERG2 = Tableau(
    order=2,
    c=(0.0, 1 / 2, 1.0),
    a=((), (1 / 2,), (1 / 256, 255 / 256)),
    b=(1 / 512, 255 / 256, 1 / 512),
    b_error=(1 / 512 - 1 / 256, 0.0, 1 / 512),
)

# P. Bogacki and L. F. Shampine, "A 3(2) pair of Runge-Kutta formulas", Appl. Math. Lett. 2 (1989).
_BOSH3_B = (2 / 9, 1 / 3, 4 / 9)
BOSH3 = Tableau(
    order=3,
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    a=((), (1 / 2,), (0.0, 3 / 4), _BOSH3_B),
    b=_fsal(_BOSH3_B),
    b_error=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
)

# J. R. Dormand and P. J. Prince, "A family of embedded Runge-Kutta formulae", J. Comp. Appl. Math.
# 6 (1980), with L. F. Shampine's variant of the embedded weights and his weights of the midpoint,
# "Some practical Runge-Kutta formulas", Math. Comp. 46 (1986).
_DOPRI5_B = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
DOPRI5 = Tableau(
    order=5,
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _DOPRI5_B,
    ),
    b=_fsal(_DOPRI5_B),
    b_error=(
        35 / 384 - 1951 / 21600,
        0.0,
        500 / 1113 - 22642 / 50085,
        125 / 192 - 451 / 720,
        -2187 / 6784 + 12231 / 42400,
        11 / 84 - 649 / 6300,
        -1 / 60,
    ),
    interior=(
        (
            1 / 2,
            (
                6025192743 / 30085553152 / 2,
                0.0,
                51252292925 / 65400821598 / 2,
                -2691868925 / 45128329728 / 2,
                187940372067 / 1594534317056 / 2,
                -1776094331 / 19743644256 / 2,
                11237099 / 235043384 / 2,
            ),
        ),
    ),
)

# Ch. Tsitouras, "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying
# assumption", Computers & Mathematics with Applications 62 (2011) 770-775, Table 1; the middle is
# the interpolant given there, at one half.
_TSIT5_B = (
    0.09646076681806523,
    0.01,
    0.4798896504144996,
    1.379008574103742,
    -3.290069515436081,
    2.324710524099774,
)
TSIT5 = Tableau(
    order=5,
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    a=(
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (
            5.86145544294642,
            -12.92096931784711,
            8.159367898576159,
            -0.071584973281401,
            -0.028269050394068383,
        ),
        _TSIT5_B,
    ),
    b=_fsal(_TSIT5_B),
    b_error=(
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        0.015151515151515152,
    ),
    interior=(
        (
            1 / 2,
            (
                0.10741235230096871,
                0.01135625,
                0.39560903056045305,
                -0.34475214352593553,
                1.3161853649581645,
                -1.0170608542936508,
                0.03125,
            ),
        ),
    ),
)

# P. J. Prince and J. R. Dormand, "High order embedded Runge-Kutta formulae", J. Comp. Appl. Math. 7
# (1981), RK8(7)13M, with f(t1, y1) as a fourteenth stage so that the next step begins with it. Its
# dense output is ours: dopri8_dense.py.
_DOPRI8_B = (
    14005451 / 335480064,
    *(0.0, 0.0, 0.0, 0.0),
    -59238493 / 1068277825,
    181606767 / 758867731,
    561292985 / 797845732,
    -1041891430 / 1371343529,
    760417239 / 1151165299,
    118820643 / 751138087,
    -528747749 / 2220607170,
    1 / 4,
)
_DOPRI8_EMBEDDED = (
    13451932 / 455176623,
    *(0.0, 0.0, 0.0, 0.0),
    -808719846 / 976000145,
    1757004468 / 5645159321,
    656045339 / 265891186,
    -3867574721 / 1518517206,
    465885868 / 322736535,
    53011238 / 667516719,
    2 / 45,
    0.0,
)
DOPRI8 = Tableau(
    order=8,
    c=(
        *(0.0, 1 / 18, 1 / 12, 1 / 8, 5 / 16, 3 / 8, 59 / 400, 93 / 200),
        5490023248 / 9719169821,
        13 / 20,
        1201146811 / 1299019798,
        *(1.0, 1.0, 1.0),
    ),
    a=(
        (),
        (1 / 18,),
        (1 / 48, 1 / 16),
        (1 / 32, 0.0, 3 / 32),
        (5 / 16, 0.0, -75 / 64, 75 / 64),
        (3 / 80, 0.0, 0.0, 3 / 16, 3 / 20),
        (
            29443841 / 614563906,
            *(0.0, 0.0),
            77736538 / 692538347,
            -28693883 / 1125000000,
            23124283 / 1800000000,
        ),
        (
            16016141 / 946692911,
            *(0.0, 0.0),
            61564180 / 158732637,
            22789713 / 633445777,
            545815736 / 2771057229,
            -180193667 / 1043307555,
        ),
        (
            39632708 / 573591083,
            *(0.0, 0.0),
            -433636366 / 683701615,
            -421739975 / 2616292301,
            100302831 / 723423059,
            790204164 / 839813087,
            800635310 / 3783071287,
        ),
        (
            246121993 / 1340847787,
            *(0.0, 0.0),
            -37695042795 / 15268766246,
            -309121744 / 1061227803,
            -12992083 / 490766935,
            6005943493 / 2108947869,
            393006217 / 1396673457,
            123872331 / 1001029789,
        ),
        (
            -1028468189 / 846180014,
            *(0.0, 0.0),
            8478235783 / 508512852,
            1311729495 / 1432422823,
            -10304129995 / 1701304382,
            -48777925059 / 3047939560,
            15336726248 / 1032824649,
            -45442868181 / 3398467696,
            3065993473 / 597172653,
        ),
        (
            185892177 / 718116043,
            *(0.0, 0.0),
            -3185094517 / 667107341,
            -477755414 / 1098053517,
            -703635378 / 230739211,
            5731566787 / 1027545527,
            5232866602 / 850066563,
            -4093664535 / 808688257,
            3962137247 / 1805957418,
            65686358 / 487910083,
        ),
        (
            403863854 / 491063109,
            *(0.0, 0.0),
            -5068492393 / 434740067,
            -411421997 / 543043805,
            652783627 / 914296604,
            11173962825 / 925320556,
            -13158990841 / 6184727034,
            3936647629 / 1978049680,
            -160528059 / 685178525,
            248638103 / 1413531060,
            0.0,
        ),
        _DOPRI8_B,
    ),
    b=_fsal(_DOPRI8_B),
    b_error=_fsal(tuple(b - e for b, e in zip(_DOPRI8_B, _DOPRI8_EMBEDDED, strict=True))),
    extra=EXTRA,
    interior=INTERIOR,
)

# By the name that ``solver=`` knows.
TABLEAUS = {
    "euler": EULER,
    "midpoint": MIDPOINT,
    "heun2": HEUN2,
    "heun3": HEUN3,
    "rk4": RK4,
    "adaptive_heun": ADAPTIVE_HEUN,
    "fehlberg2": FEHLBERG2,
    "bosh3": BOSH3,
    "dopri5": DOPRI5,
    "tsit5": TSIT5,
    "dopri8": DOPRI8,
}
