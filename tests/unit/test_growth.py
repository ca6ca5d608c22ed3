from workflow_scripts.lib.growth import grows


def test_what_was_too_little_is_more_at_the_next_attempt() -> None:
    assert [grows(3000)(None, attempt) for attempt in (1, 2, 3)] == [3000, 6000, 9000]
