"""The queue server's journal: what is read back, what a crash may do to it, and how it stays short."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devops_mcp.embedded.sqs.journal import Durability, Journal, encode
from devops_mcp.embedded.sqs.records import Message, Purged, Put, Record, Removed, Sighting
from devops_mcp.models.errors import ConfigurationError, Unavailable

MESSAGE = Message("m1", "grüße\n", 7, 1.5, 2.5, {"a": {"DataType": "String", "StringValue": "x"}}, group="g")
RECORDS: list[Record] = [Put("jobs", [MESSAGE], [Sighting("k", "m1", 7, 301.5)]), Removed("jobs", ["m0"])]


@asynccontextmanager
async def running(journal: Journal) -> AsyncIterator[Journal]:
    task = asyncio.create_task(journal.run(lambda: RECORDS))
    yield journal
    task.cancel()
    await asyncio.wait([task])


def read(folder: Path) -> list[Record]:
    journal = Journal(folder, Durability.PROCESS)
    records = list(journal.read())
    journal.close()
    return records


@pytest.mark.parametrize("durability", list(Durability))
async def test_what_was_committed_is_read_back(tmp_path: Path, durability: Durability):
    async with running(Journal(tmp_path, durability)) as journal:
        for record in RECORDS:
            journal.append(record)
        await journal.commit()
        assert (tmp_path / "journal").stat().st_size > 0
    journal.close()

    assert read(tmp_path) == RECORDS


async def test_everyone_who_waits_at_once_shares_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    syncs = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (syncs.append(descriptor), real(descriptor)))

    async def change(journal: Journal) -> None:
        journal.append(RECORDS[0])
        await journal.commit()

    async with running(Journal(tmp_path, Durability.MACHINE)) as journal:
        await asyncio.gather(*(change(journal) for _ in range(50)))

    assert len(syncs) == 1
    journal.close()
    assert len(read(tmp_path)) == 50


@pytest.mark.parametrize("cut", [1, 5, len(encode(RECORDS[1])) - 1])
def test_a_line_that_a_crash_cut_off_is_dropped_for_good(tmp_path: Path, cut: int):
    whole = b"".join(encode(record) for record in RECORDS)
    (tmp_path / "journal").write_bytes(whole[:-cut])

    assert read(tmp_path) == RECORDS[:1]

    assert (tmp_path / "journal").read_bytes() == encode(RECORDS[0])


def test_zeros_that_a_power_cut_left_at_the_end_are_dropped(tmp_path: Path):
    (tmp_path / "journal").write_bytes(encode(RECORDS[0]) + bytes(4096))

    assert read(tmp_path) == RECORDS[:1]


def test_damage_before_the_end_stops_the_start(tmp_path: Path):
    damaged = bytearray(encode(RECORDS[0]) + encode(RECORDS[1]))
    damaged[20] ^= 1
    (tmp_path / "journal").write_bytes(damaged)

    with pytest.raises(ConfigurationError, match="damaged at byte 0"):
        read(tmp_path)
    assert (tmp_path / "journal").read_bytes() == damaged


def test_a_compacted_journal_holds_what_it_was_given_and_nothing_else(tmp_path: Path):
    journal = Journal(tmp_path, Durability.PROCESS)
    journal.append(Purged("before"))
    journal.write()
    journal.append(Purged("not written yet"))

    journal.compact(RECORDS)
    journal.append(Purged("after"))
    journal.close()

    assert read(tmp_path) == [*RECORDS, Purged("after")]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["journal", "lock"]


async def test_a_journal_that_has_grown_is_compacted_while_it_runs(tmp_path: Path):
    async with running(Journal(tmp_path, Durability.MACHINE, compact_bytes=1_000)) as journal:
        for _ in range(100):
            journal.append(RECORDS[0])
            await journal.commit()
    journal.close()

    assert (tmp_path / "journal").stat().st_size < 10 * len(encode(RECORDS[0]))
    assert read(tmp_path)[: len(RECORDS)] == RECORDS


async def test_a_full_disk_is_said_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(tmp_path, Durability.PROCESS)
    journal.append(RECORDS[0])
    real = os.write

    def write_half(descriptor: int, data: memoryview) -> int:
        monkeypatch.setattr(os, "write", no_room)
        return real(descriptor, data[:10])

    def no_room(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(Unavailable):
        await journal.commit()
    monkeypatch.undo()
    assert (tmp_path / "journal").read_bytes() == b""

    await journal.commit()
    journal.close()
    assert read(tmp_path) == RECORDS[:1]


def test_a_folder_serves_one_server_at_a_time(tmp_path: Path):
    journal = Journal(tmp_path, Durability.PROCESS)

    with pytest.raises(ConfigurationError, match="in use"):
        Journal(tmp_path, Durability.PROCESS)

    journal.close()
    Journal(tmp_path, Durability.PROCESS).close()
