"""``sweep.fail_fast``: once a job of a sweep has failed, no further one starts.

A file in the sweep's folder says so, since a launcher plugin runs the jobs in processes of their
own. Jobs that run by then go on to their end.
"""

import json
from pathlib import Path

from node_cli.records.files import read_json, write_text
from node_cli.records.run_folder import RunFolder

FILE = "fail_fast.json"


def forget_failure(sweep: Path) -> None:
    """Forget what failed in an earlier attempt. Raises OSError."""
    (sweep / FILE).unlink(missing_ok=True)


def note_failure(sweep: Path, job: RunFolder) -> None:
    """Say that this job has failed. Raises OSError."""
    write_text(sweep / FILE, json.dumps({"failed": job.path.name}) + "\n")


def failed_job(sweep: Path) -> str | None:
    """The name of the job because of which no further one starts; None where there is none."""
    return read_json(sweep / FILE).get("failed")
