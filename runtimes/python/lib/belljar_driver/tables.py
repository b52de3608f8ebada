"""Converts pandas' frames and series and arrow's tables to JSON, with their labels.

Labels are data unless they are the positions 0, 1, 2, ... of a default index. A Series becomes
an object with its labels as keys; the records of a frame begin with their labels.
"""

from belljar_driver import originals as __builtins__

from belljar_driver.convert import distinct


def put_series(encoder, series):
    encoder.expect(series.size * 2)
    index, values = series.index, series.tolist()
    if _is_default(index):
        return encoder.nested(series, lambda _: encoder.encode(values))
    if index.nlevels == 1:
        labels = index.tolist()
        if encoder.key_texts(labels) is not None:
            return encoder.nested(series, lambda _: encoder.put_members(labels, values))
    name = "value" if series.name is None else encoder.key_text(series.name)
    encoder.nested(series, lambda _: _put_records(encoder, *_with_index(encoder, index, [name], [values])))


def put_frame(encoder, frame):
    encoder.expect(frame.size * 2)
    names = [encoder.key_text(label) for label in frame.columns.tolist()]
    columns = [frame.iloc[:, number].tolist() for number in range(len(names))]
    if not _is_default(frame.index):
        names, columns = _with_index(encoder, frame.index, names, columns)
    if not names:
        return encoder.encode([{}] * len(frame))
    encoder.nested(frame, lambda _: _put_records(encoder, names, columns))


def put_arrow_table(encoder, table):
    encoder.expect(table.num_rows * table.num_columns * 2)
    columns = [column.to_pylist() for column in table.columns]
    encoder.nested(table, lambda _: _put_records(encoder, [*table.schema.names], columns))


def _put_records(encoder, names, columns):
    names = distinct(names)
    encoder.put_list(dict(zip(names, row)) for row in zip(*columns))


def _is_default(index):
    """Returns whether the labels are those that pandas assigns to rows without labels."""
    is_range = any(kind.__name__ == "RangeIndex" for kind in type(index).__mro__)
    return is_range and index.name is None and index.start == 0 and index.step == 1


def _with_index(encoder, index, names, columns):
    """Returns the columns, preceded by the levels of the index, as in `reset_index`. A level
    whose values are already in a column of its name is left out. A level whose name is that of
    another column is named like one without a name."""
    found_names, found_columns = [], []
    for number in range(index.nlevels):
        values = (index.get_level_values(number) if index.nlevels > 1 else index).tolist()
        name = None if index.names[number] is None else encoder.key_text(index.names[number])
        if name in names:
            if _are_same(values, columns[names.index(name)]):
                continue
            name = None
        if name is None:
            name = "index" if index.nlevels == 1 and "index" not in names else f"level_{number}"
        found_names.append(name)
        found_columns.append(values)
    return found_names + names, found_columns + columns


def _are_same(values, others):
    try:
        return bool(values == others)
    except Exception:
        return False
