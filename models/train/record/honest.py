"""Enters: an application that listens. Leaves: honest requests to it: visitors who read, click and fill in forms, programs, and
for pages also Chromium itself.
"""

import threading
import time

from browser import Browser
from person import Person

VISITORS = 2


def visit(app, lane, words, end, limit, errors):
    """One visitor after the other, each with another browser, until the time is over."""
    while time.time() < end and lane.count < limit:
        person = Person(lane.port, words)
        attempt(errors, lambda: app.enter and app.enter(person))
        for _ in range(words.rng.randint(20, 60)):
            if time.time() > end or lane.count >= limit:
                return
            attempt(errors, lambda: act(app, person, words.rng))


def act(app, person, rng):
    if app.call and rng.random() < app.calls_share:
        return app.call(person)
    # Applications lock out who guesses passwords; logins and new users are in `enter` and `call`.
    forms = [form for form in person.forms() if not form.xpath(".//input[@type='password']")]
    links, pick = person.links(), rng.random()
    if forms and pick < 0.45:
        return person.submit(rng.choice(forms))
    if links and pick < 0.8:
        person.go(rng.choice(links))
        return person.load_parts(rng.choice((0, 0, 1, 3)))
    person.go(rng.choice(app.pages))
    return person.load_parts(rng.choice((0, 0, 0, 2)))


def attempt(errors, what):
    """A page that fails is an event of everyday life: it is counted, and life goes on."""
    try:
        what()
    except Exception as error:
        name = f"{type(error).__name__}: {error}"[:160]
        errors[name] = errors.get(name, 0) + 1


def browse(app, lane, words, work, seconds, errors):
    """Chromium: what its own engine and the page's scripts send."""
    browser = Browser(lane.port, work)
    try:
        end = time.time() + seconds
        attempt(errors, lambda: browser.enter(app))
        while time.time() < end:
            attempt(errors, lambda: browser.step(words, app.pages))
    finally:
        browser.close()


def use(app, lane, pool, work, seconds, limit):
    """Everybody at once; gives what went wrong, by kind."""
    errors, end = {}, time.time() + seconds
    threads = [threading.Thread(target=visit, args=(app, lane, words, end, limit, errors)) for words in pool[:VISITORS]]
    if app.browser and len(pool) > VISITORS:
        threads.append(threading.Thread(target=lambda: attempt(errors, lambda: browse(app, lane, pool[VISITORS], work, seconds, errors))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
