"""The answer says what the numbers say, whichever way they fall."""

from dataclasses import replace

from fsrcache.reports.answer import answer


def with_scores(table, **changes):
    """Return the table with other values at coarse scales of FSR-FER."""
    rows = tuple(
        replace(score, **changes) if score.row == "FSR-FER" and score.scale > 1 else score for score in table.rows
    )
    return replace(table, rows=rows)


def with_rival(table, accuracy, name="fine-tuned"):
    rival = [replace(score, row=name, label=name, accuracy=accuracy) for score in table.rows if score.row == "FSR-FER"]
    return replace(table, rows=(*table.rows, *rival))


def test_the_share_of_the_gap_is_the_headline(table):
    headline, details = answer(table, "FSR-FER")
    assert headline.replace("\N{NO-BREAK SPACE}", " ") == (
        "FSR-FER wins back 59 to 86 % of the accuracy that coarse faces lose."
    )
    assert details == (
        "At x4 (6 pixels a side) the extractor alone recognises 33.3 % of 60 faces, with FSR-FER 66.7 % (95 % interval "
        "54.1 to 77.3); at full resolution it recognises 90.0 %.",
    )


def test_where_bicubic_loses_nothing_a_gain_is_one_all_the_same(table):
    headline, details = answer(with_scores(table, gap_closed=None), "FSR-FER")
    assert headline == "FSR-FER is better than bicubic at x2 and x4."
    assert "At x2 and x4 it is better than bicubic, which loses nothing there against full resolution." in details
    rows = tuple(replace(one, gap_closed=None) if one.scale == 2 else one for one in table.rows)
    headline, details = answer(replace(table, rows=rows), "FSR-FER")
    assert headline.replace("\N{NO-BREAK SPACE}", " ") == (
        "FSR-FER wins back 59 % of the accuracy that coarse faces lose at x4."
    )
    assert "At x2 it is better than bicubic, which loses nothing there against full resolution." in details


def test_what_may_be_chance_is_no_gain(table):
    headline, details = answer(with_scores(table, mcnemar_p=0.2), "FSR-FER")
    assert headline == "FSR-FER wins back nothing of the accuracy that coarse faces lose."
    assert "At x2 and x4 it cannot be told apart from bicubic (McNemar's p ≥ 0.05)." in details


def test_what_guessing_reaches_as_well_is_no_gain(table):
    guessing = with_rival(with_scores(table, accuracy=30.0, low=25.0), 26.0, "majority")
    rows = tuple(
        replace(one, accuracy=20.0) if one.row == "bicubic" and one.scale > 1 else one for one in guessing.rows
    )
    headline, details = answer(replace(guessing, rows=rows), "FSR-FER")
    assert headline == "FSR-FER wins back nothing of the accuracy that coarse faces lose."
    assert "At x2 and x4 it is better than bicubic, and no better than the commonest class." in details


def test_a_loss_is_called_one(table):
    headline, details = answer(with_scores(table, accuracy=5.0, gap_closed=-60.0), "FSR-FER")
    assert "nothing" in headline
    assert "At x2 and x4 it is worse than bicubic." in details


def test_gains_at_some_scales_name_them(table):
    rows = tuple(replace(one, mcnemar_p=0.2) if one.scale == 2 else one for one in table.rows)
    headline, _ = answer(replace(table, rows=rows), "FSR-FER")
    assert headline.replace("\N{NO-BREAK SPACE}", " ").endswith(
        "back 59 % of the accuracy that coarse faces lose at x4."
    )


def test_rivals_that_are_ahead_are_named(table):
    assert "Ahead of it: fine-tuned at x2 and x4." in answer(with_rival(table, 99.0), "FSR-FER").details
    behind = answer(with_rival(table, 1.0), "FSR-FER").details
    assert "None of the other rows (fine-tuned) is ahead of it at any coarse scale." in behind
    assert len(answer(with_rival(table, 1.0, "majority"), "FSR-FER").details) == 1
    assert "Ahead of it: majority at x2 and x4." in answer(with_rival(table, 99.0, "majority"), "FSR-FER").details


def test_its_own_networks_are_no_rivals(table):
    assert len(answer(with_rival(table, 99.0, "FSR-FER, one of 3"), "FSR-FER").details) == 1


def test_the_ceiling_is_named_where_it_is_known(table):
    details = answer(with_scores(table, ceiling_reached=91.4), "FSR-FER").details
    assert "Of the way from bicubic to the specialists, a network a scale, it goes 91\N{NO-BREAK SPACE}%." in details


def test_without_a_training_there_is_no_claim(table):
    headline, details = answer(table, "bicubic")
    assert headline == "Nothing is trained yet that could be set against the extractor alone."
    assert details == ()
