"""Who may ask: address, token, cookie, origin, CSRF; and the headers of every answer."""

import re

import pytest
from web_client import Client

from volumetry.errors import UsageError
from volumetry.web.serving import LocalServer, new_app
from volumetry.web.viewer import add_static


@pytest.fixture
def client():
    app = new_app()
    add_static(app)
    app.get("/secret")(lambda: "<b>shown as text</b>")
    app.post("/change")(lambda: "changed")
    made = Client(app)
    yield made
    made.close()


def test_without_the_cookie_nothing_is_shown(client):
    for path in ("/", "/secret", "/static/viewer.js", "/session.json", "/docs", "/openapi.json"):
        assert client.ask("GET", path).status_code == 403, path


def test_the_token_opens_once_and_sets_a_strict_cookie(client):
    wrong = client.ask("GET", "/enter?token=" + "A" * 43)
    assert wrong.status_code == 403
    assert "set-cookie" not in wrong.headers
    cookie, entered = client.exchange()
    assert entered.status_code == 200
    flags = {part.strip() for part in entered.headers["set-cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict"} <= flags
    assert client.server.link.split("token=")[1] not in entered.text
    assert client.ask("GET", "/secret", headers=cookie).status_code == 200
    assert client.ask("GET", client.server.link.split(client.own)[1]).status_code == 403


def test_a_cookie_of_another_value_is_refused(client):
    cookie, _ = client.exchange()
    name = cookie["cookie"].split("=")[0]
    for forged in (f"{name}=guessed", "other=1", f"{name}=", "\x01bad"):
        assert client.ask("GET", "/secret", headers={"cookie": forged}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "evil.example:{port}"])
def test_another_host_is_refused_before_routing(client, host):
    cookie, _ = client.exchange()
    answer = client.ask("GET", "/secret", host=host.format(port=client.server.port), headers=cookie)
    assert answer.status_code == 400


def test_localhost_with_the_port_is_our_own_address(client):
    cookie, _ = client.exchange()
    assert client.ask("GET", "/secret", host=f"localhost:{client.server.port}", headers=cookie).status_code == 200


def test_a_change_needs_our_origin_and_the_csrf_token(client):
    cookie, _ = client.exchange()
    csrf = client.ask("GET", "/session.json", headers=cookie).json()["csrf"]
    ours = f"http://{client.own}"
    for headers in (
        {},
        {"origin": ours},
        {"x-csrf-token": csrf},
        {"origin": "http://evil.example", "x-csrf-token": csrf},
        {"origin": "null", "x-csrf-token": csrf},
        {"origin": ours, "x-csrf-token": "x" + csrf[1:]},
    ):
        assert client.ask("POST", "/change", headers={**cookie, **headers}).status_code == 403, headers
    good = {**cookie, "origin": ours, "x-csrf-token": csrf}
    assert client.ask("POST", "/change", headers=good).text == '"changed"'
    assert client.ask("POST", "/change", headers={**good, "content-encoding": "gzip"}).status_code == 415


def test_every_answer_forbids_scripts_from_elsewhere_framing_sniffing_and_storing(client):
    cookie, entered = client.exchange()
    answers = [
        entered,
        *(client.ask("GET", path, headers=cookie) for path in ("/secret", "/static/page.css", "/no")),
    ]
    answers.append(client.ask("GET", "/secret"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_paths_lead_nowhere(client):
    cookie, _ = client.exchange()
    for path in (
        "/static/../guard.py",
        "/static/%2e%2e%2fguard.py",
        "/static/..%5cguard.py",
        "/static/NIIVUE_LICENSE.txt",
    ):
        assert client.ask("GET", path, headers=cookie).status_code == 404, path


def test_pages_hold_no_inline_script_and_nothing_from_elsewhere():
    from volumetry.web.viewer import static_folder

    pages = sorted(static_folder().glob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text("utf-8")
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|\son\w+\s*=|\sstyle\s*=|<style|https?://|javascript:", text
        ), page.name


def test_a_taken_port_is_said(client):
    with pytest.raises(UsageError, match="cannot be used"):
        LocalServer(new_app(), client.server.port)
