from runtime.waiting import wait_until


def test_it_ends_as_soon_as_it_is_done():
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), seconds=60, pause=0)


def test_it_ends_when_the_time_is_over():
    assert not wait_until(lambda: False, seconds=0.01, pause=0.001)


def test_it_asks_at_least_once():
    assert wait_until(lambda: True, seconds=0, pause=60)
