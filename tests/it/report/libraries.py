"""Reads our files with the libraries that people read them with: run by the Python of the part `readers`.

    libraries.py parquet FILE DIR    DuckDB, against requests.jsonl in DIR
    libraries.py hlog FILE DIR       HdrHistogram's own log reader, against requests.jsonl in DIR
    libraries.py junit XSD FILE...   an XML Schema validator

Ends with a non-zero status and a sentence on the first thing that is wrong.
"""

import json
import os
import sys


def rows_of(folder):
    with open(os.path.join(folder, "requests.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def parquet(path, folder):
    import duckdb

    base = duckdb.connect()
    found = base.execute("SELECT * FROM read_parquet(?)", [path])
    names = [column[0] for column in found.description]
    table = found.fetchall()
    rows = rows_of(folder)
    assert len(table) == len(rows), f"{len(table)} rows, not {len(rows)}"
    for cells, row in zip(table, rows):
        assert names == list(row), (names, list(row))
        for name, cell in zip(names, cells):
            wanted = row[name]
            if isinstance(wanted, dict):
                wanted = json.dumps(wanted, separators=(",", ":")) if wanted else None
            assert cell == wanted, f"{name}: {cell!r}, not {wanted!r}"
            assert cell is None or isinstance(cell, type(wanted)), f"{name}: {type(cell)}"
    means = base.execute("SELECT avg(ttft_ms) FROM read_parquet(?) WHERE outcome = 'completed'", [path])
    means.fetchone()
    about = base.execute("SELECT key, value FROM parquet_kv_metadata(?)", [path]).fetchall()
    about = {bytes(key).decode(): bytes(value).decode() for key, value in about}
    assert about["bench-ci.schema"] == "bench-ci.report/1", about
    assert about["bench-ci.outcome"], about


def hlog(path, folder):
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    longest = 4_000_000_000_000
    reader = HistogramLogReader(path, HdrHistogram(1, longest, 3))
    whole, last = {}, {}
    while True:
        interval = reader.get_next_interval_histogram()
        if interval is None:
            break
        tag = interval.get_tag()
        begin = interval.get_start_time_stamp()
        assert begin >= last.get(tag, 0), f"{tag} goes back in time"
        last[tag] = begin
        whole.setdefault(tag, HdrHistogram(1, longest, 3)).add(interval)
    rows = [r for r in rows_of(folder) if r["phase"] == "measured" and r["outcome"] == "completed"]
    assert whole, "no histogram"
    for tag, column in (("ttft", "ttft_ms"), ("e2e", "e2e_ms"), ("tpot", "tpot_ms"), ("queue", "queue_ms")):
        values = sorted(r[column] * 1e6 for r in rows if r[column] is not None)
        assert whole[tag].get_total_count() == len(values), f"{tag}: {whole[tag].get_total_count()}"
        for percentile in (50, 90, 100):
            # The library rounds the rank to the nearest.
            wanted = values[max(int(percentile / 100 * len(values) + 0.5), 1) - 1]
            found = whole[tag].get_value_at_percentile(percentile)
            assert abs(found - wanted) <= 0.0011 * wanted + 1, f"{tag} p{percentile}: {found}, not {wanted}"


def junit(schema, *paths):
    import xmlschema

    schema = xmlschema.XMLSchema(schema)
    for path in paths:
        schema.validate(path)


def main(what, *paths):
    globals()[what](*paths)


main(*sys.argv[1:])
