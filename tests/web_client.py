"""Requests to a guarded app without a network or a browser."""

import asyncio

import httpx

from volumetry.web.serving import LocalServer


class Client:
    """One user of one app; after `enter` it carries the cookie and the CSRF token as the page does."""

    def __init__(self, app):
        self.server = LocalServer(app)
        self.own = f"127.0.0.1:{self.server.port}"
        self.headers = {}
        self._transport = httpx.ASGITransport(self.server._server.config.app)

    def ask(self, method, path, host=None, headers=None, content=None):
        async def send():
            async with httpx.AsyncClient(transport=self._transport, base_url=f"http://{self.own}") as client:
                full = {"host": host or self.own, **self.headers, **(headers or {})}
                return await client.request(method, path, headers=full, content=content)

        return asyncio.run(send())

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, **more):
        return self.ask("POST", path, **more)

    def exchange(self):
        """Use the link: the cookie as a header, and the answer."""
        answer = self.get(self.server.link.split(self.own)[1])
        return {"cookie": answer.headers["set-cookie"].split(";")[0]}, answer

    def enter(self):
        self.headers, _ = self.exchange()
        csrf = self.get("/session.json").json()["csrf"]
        self.headers |= {"origin": f"http://{self.own}", "x-csrf-token": csrf}
        return self

    def close(self):
        self.server._listener.close()
