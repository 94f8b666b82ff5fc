"""Keys for tests of LiteLLM without a database: `sk-alice` is alice@example.com's."""

from litellm.proxy._types import UserAPIKeyAuth


async def user_api_key_auth(request, api_key: str) -> UserAPIKeyAuth:
    if not api_key.startswith("sk-"):
        raise PermissionError("no key")
    return UserAPIKeyAuth(api_key=api_key, user_id=f"{api_key[3:]}@example.com", user_role="internal_user")
