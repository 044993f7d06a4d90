"""What splits, and the numbers that they were evaluated for, are called in the records."""


def evaluated(split: str, name: str) -> str:
    """Return the name in epochs.csv and result.json of a number that a split was evaluated for."""
    return f"{split.replace('train', 'train_eval')}_{name}"


def averaged_split(split: str) -> str:
    """Return the name in the records of a split that the average of the weights was evaluated
    on."""
    return f"{split}_ema"


def trained_split(split: str, *, averaged: bool) -> str:
    """Return the name in the records of a split that the trained model was evaluated on, which is
    the average of the weights where there is one."""
    return averaged_split(split) if averaged else split
