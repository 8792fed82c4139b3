"""Label Studio's two kinds of API keys, and the header that each of them becomes.

A legacy token is sent as it is. A personal access token is a JWT that buys access tokens, which
live for some minutes.
"""

from collections.abc import Awaitable, Callable

from batch_common.secret import Secret

Buy = Callable[[str], Awaitable[str]]


class Token:
    """`buy` makes an access token from a personal one; it raises DeliveryError."""

    def __init__(self, key: Secret, buy: Buy) -> None:
        self._key = key
        self._buy = buy
        self._access: str | None = None

    @property
    def is_personal(self) -> bool:
        """By its form: header, payload and signature of a JWT."""
        return self._key.reveal().count(".") == 2

    async def header(self) -> str:
        if not self.is_personal:
            return f"Token {self._key.reveal()}"
        if self._access is None:
            self._access = await self._buy(self._key.reveal())
        return f"Bearer {self._access}"

    def renew(self) -> bool:
        """After a refusal: True when the next header is another one, worth another try."""
        had = self._access is not None
        self._access = None
        return had
