"""Logs of GitHub Actions' jobs, read through and cut on the way: a log is never held whole.

https://docs.github.com/rest/actions/workflow-jobs#download-job-logs-for-a-workflow-run
"""

import codecs
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import ReadParams, Tool, ToolResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.tools.actions import FAILED, Job
from devops_mcp.adapters.github.tools.common import Number, RepoArgument
from devops_mcp.adapters.shapes import read, read_all

MAX_JOBS = 10
MAX_LINE = 1_000
_TIMESTAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z ?")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class JobLogsParams(ByAction, RepoArgument, ReadParams):
    action: Literal["job", "run"] = Field(description="One job's log, or those of a run's jobs.")
    job_id: Number | None = Field(default=None, description="For job.")
    run_id: Number | None = Field(default=None, description="For run.")
    failed_only: bool = Field(
        default=True, description="Only failed jobs of the run, and of a failed job only its failed steps."
    )
    tail: int = Field(default=80, ge=1, le=2_000, description="Last lines of each job's log (after `grep`).")
    grep: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Keep lines that contain this text, in any case; several texts with `|` between them.",
    )
    context: int = Field(default=0, ge=0, le=20, description="Lines to keep around each that grep found.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "job": Takes(needs=("job_id",)),
        "run": Takes(needs=("run_id",)),
    }


class JobLog(BaseModel):
    """The lines kept of one job's log, without timestamps and colours. `cut` says that the log was too long to read to its end."""

    job_id: int
    name: str
    conclusion: str | None
    failed_steps: list[str]
    lines_total: int
    lines_kept: int
    cut: bool = False
    url: str | None = None
    text: str


class JobLogs(ToolResult):
    """`jobs_left` counts those of the run that are not shown: ask for them by job_id."""

    jobs: list[JobLog]
    jobs_left: int = 0


async def read_job_logs(github: GitHub, params: JobLogsParams) -> JobLogs:
    """Find out why a build failed: the last lines of the failed steps' logs, of one job or of all failed jobs of a run."""
    jobs = await _jobs(github, params)
    logs = [await _read_log(github, params, job) for job in jobs[:MAX_JOBS]]
    return JobLogs(jobs=logs, jobs_left=max(0, len(jobs) - MAX_JOBS))


async def _jobs(github: GitHub, params: JobLogsParams) -> list[Job]:
    if params.job_id is not None:
        return [read(Job, await github.json(github.repo(params.repo, "actions", "jobs", params.job_id)))]
    path = github.repo(params.repo, "actions", "runs", str(params.run_id), "jobs")
    page = await github.page(path, limit=100, cursor=None, items="jobs", params={"filter": "latest"})
    jobs = [job for job in read_all(Job, page.items) if job.status == "completed"]
    return [job for job in jobs if job.conclusion in FAILED] if params.failed_only else jobs


async def _read_log(github: GitHub, params: JobLogsParams, job: Job) -> JobLog:
    picker = LinePicker(
        tail=params.tail,
        needles=tuple(n for n in (params.grep or "").lower().split("|") if n),
        context=params.context,
        windows=_windows(job) if params.failed_only else (),
    )
    path = github.repo(params.repo, "actions", "jobs", job.id, "logs")
    async with github.download(path) as chunks:
        cut = await picker.read(chunks, github.max_log_bytes)
    return JobLog(
        job_id=job.id,
        name=job.name,
        conclusion=job.conclusion,
        failed_steps=[step.name for step in job.failed_steps],
        lines_total=picker.total,
        lines_kept=len(picker.kept),
        cut=cut,
        url=job.url,
        text="\n".join(picker.kept),
    )


def _windows(job: Job) -> tuple[tuple[str, str], ...]:
    """When the failed steps ran, in the form of the log's own timestamps: a log does not name its steps."""
    return tuple(
        (_second(step.started_at), _second(step.completed_at))
        for step in job.failed_steps
        if step.started_at is not None and step.completed_at is not None
    )


def _second(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")


@dataclass(slots=True)
class LinePicker:
    """Keeps the last `tail` lines that fall into one of `windows` and contain one of `needles`; without either, any line."""

    tail: int
    needles: tuple[str, ...] = ()
    context: int = 0
    windows: tuple[tuple[str, str], ...] = ()
    total: int = 0
    kept: deque[str] = field(init=False)
    _before: deque[str] = field(init=False)
    _after: int = 0
    _inside: bool = True

    def __post_init__(self) -> None:
        self.kept = deque(maxlen=self.tail)
        self._before = deque(maxlen=self.context)

    async def read(self, chunks: AsyncIterator[bytes], max_bytes: int) -> bool:
        """Take the whole stream; whether it was left at `max_bytes`."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        seen, rest = 0, ""
        async for chunk in chunks:
            seen += len(chunk)
            *lines, rest = (rest + decoder.decode(chunk)).split("\n")
            for line in lines:
                self.take(line)
            rest = rest[:MAX_LINE]
            if seen > max_bytes:
                return True
        if rest:
            self.take(rest)
        return False

    def take(self, raw: str) -> None:
        """Look at one line."""
        self.total += 1
        stamp = _TIMESTAMP.match(raw)
        if stamp is not None:
            self._inside = not self.windows or any(start <= stamp[1] <= end for start, end in self.windows)
        if not self._inside:
            return
        line = _ANSI.sub("", raw[stamp.end() if stamp else 0 :].rstrip("\r"))[:MAX_LINE]
        if not self.needles or any(needle in line.lower() for needle in self.needles):
            self.kept.extend(self._before)
            self._before.clear()
            self.kept.append(line)
            self._after = self.context
        elif self._after:
            self.kept.append(line)
            self._after -= 1
        else:
            self._before.append(line)


TOOLS = (Tool("github_job_logs", "Read build logs", JobLogsParams, JobLogs, read_job_logs),)
