"""The pages that people see: plain HTML that works without scripts, in no frame, with nothing from elsewhere."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from types import MappingProxyType
from urllib.parse import urlencode, urlsplit

from starlette.responses import HTMLResponse

from devops_mcp.auth.redirects import is_loopback, place_of
from devops_mcp.models.oauth import ON_DEMAND, AuthorizationRequest, DeviceCode, words_of
from devops_mcp.models.principals import Principal
from devops_mcp.operations.authorization import can_be_remembered

SIGN_IN, ELSEWHERE, SIGN_OUT, AUTHORIZE, DEVICE = (
    "/oauth/sign-in",
    "/oauth/sign-in/elsewhere",
    "/oauth/sign-out",
    "/oauth/authorize",
    "/oauth/device",
)
_STYLE = """
body { font: 17px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; color: #1b1f24; background: #fff }
h1 { font-size: 1.5rem; line-height: 1.25 } fieldset { border: 1px solid #8c959f; border-radius: 6px; margin: 1rem 0; padding: .5rem 1rem }
label { display: block; margin: .5rem 0 } label.line { padding-left: 1.7rem; text-indent: -1.7rem }
input[type=text], input[type=password] { display: block; width: 100%; box-sizing: border-box; font: inherit; padding: .5rem }
button, a.button { font: inherit; padding: .5rem 1.25rem; margin: .5rem .5rem 0 0 }
a.button { display: inline-block; border: 1px solid #59636e; border-radius: 3px; color: inherit; text-decoration: none }
.fault { border-left: 4px solid #cf222e; padding-left: .75rem }
.warning { border-left: 4px solid #9a6700; padding-left: .75rem } dt { font-weight: 600 } dd { margin: 0 0 .5rem; overflow-wrap: anywhere }
code { font: 1.1em ui-monospace, monospace } form.aside button { padding: 0 .5rem; margin: 0 }
"""
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Asking:
    """What a page asks a user about: who wants what, and where the answer goes."""

    client_id: str
    client_name: str
    audience: str
    scopes: tuple[str, ...]
    scopes_named: bool
    offered: tuple[str, ...] = ()
    redirect_uri: str | None = None
    can_be_remembered: bool = False
    user_code: str | None = None
    address: str | None = None

    @classmethod
    def of_request(cls, asked: AuthorizationRequest) -> "Asking":
        return cls(
            client_id=asked.client_id,
            client_name=asked.client_name,
            audience=asked.audience,
            scopes=asked.scopes,
            scopes_named=asked.scopes_named,
            offered=asked.offered,
            redirect_uri=asked.redirect_uri,
            can_be_remembered=can_be_remembered(asked),
        )

    @classmethod
    def of_device(cls, waits: DeviceCode, user_code: str) -> "Asking":
        return cls(
            client_id=waits.client_id,
            client_name=waits.client_name,
            audience=waits.audience,
            scopes=waits.scopes,
            scopes_named=True,
            user_code=user_code,
            address=waits.address,
        )

    def chooses(self, scope: str) -> bool:
        """Whether its box is ticked to begin with."""
        return self.scopes_named or scope not in ON_DEMAND


def sign_in_page(
    form: str,
    *,
    client_name: str | None,
    fault: str = "",
    elsewhere: Mapping[int, str] = MappingProxyType({}),
) -> HTMLResponse:
    """Asks who sits there; `elsewhere` are the providers to sign in at instead."""
    purpose = f"to go on with <b>{escape(client_name)}</b>" if client_name else "to connect a device"
    body = f"""
<h1>Sign in to DevOps MCP</h1>
<p>Sign in {purpose}. Your password stays here.</p>
{_fault(fault)}
{"".join(_way_elsewhere(number, name, form) for number, name in elsewhere.items())}
<form method="post" action="{SIGN_IN}">
{_hidden(form)}
<label>Username (outside of the default tenant: tenant/username)
<input type="text" name="username" autocomplete="username" autocapitalize="none" spellcheck="false"
required autofocus{_at_fault(fault)}></label>
<label>Password <input type="password" name="password" autocomplete="current-password" required{_at_fault(fault)}></label>
<button type="submit">Sign in</button>
</form>"""
    return page("Sign in", body, status=403 if fault else 200)


def consent_page(form: str, user: Principal, asking: Asking, *, fault: str = "") -> HTMLResponse:
    """Asks whether a program may, and what."""
    name, action = escape(asking.client_name), AUTHORIZE if asking.redirect_uri else DEVICE
    body = f"""
<h1>Let {name} act for you?</h1>
<form class="aside" method="post" action="{SIGN_OUT}">{_hidden(form)}
<p>You are signed in as <b>{escape(user.name)}</b>. <button type="submit">Not you? Sign in as somebody else</button></p></form>
{_fault(fault)}
<dl>{_facts(asking)}</dl>
{_warning(asking)}
<form method="post" action="{action}">
{_hidden(form)}
<fieldset><legend>It asks to</legend>
{"".join(_choice(scope, chosen=asking.chooses(scope)) for scope in asking.scopes)}
</fieldset>
{_offer(asking)}
<p>Take away what it should not do. It can never do more than you may yourself.</p>
{_remembering(asking)}
<button type="submit" name="decision" value="allow">Allow</button>
<button type="submit" name="decision" value="deny">Do not allow</button>
</form>"""
    return page(f"Let {asking.client_name} act for you?", body, sends_to=asking.redirect_uri)


def user_code_page(form: str, user: Principal, *, typed: str = "", fault: str = "") -> HTMLResponse:
    """Asks for the code that a device shows."""
    body = f"""
<h1>Connect a device</h1>
<p>You are signed in as <b>{escape(user.name)}</b>. Type the code that your device or your command line shows.
Only go on if you started this yourself.</p>
{_fault(fault)}
<form method="post" action="{DEVICE}">
{_hidden(form)}
<label>Code <input type="text" name="user_code" value="{escape(typed)}" autocomplete="off" autocapitalize="characters"
spellcheck="false" required autofocus{_at_fault(fault)}></label>
<button type="submit">Go on</button>
</form>"""
    return page("Connect a device", body, status=403 if fault else 200)


def message_page(title: str, text: str, *, status: int = 200) -> HTMLResponse:
    """Says something, and asks nothing."""
    return page(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>", status=status)


def page(title: str, body: str, *, status: int = 200, sends_to: str | None = None) -> HTMLResponse:
    """A page. Its forms go to us, and from there to `sends_to` at most: browsers hold the redirect after a form to that too."""
    document = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - DevOps MCP</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"""
    targets = " ".join(("'self'", *_target(sends_to)))
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {targets}; frame-ancestors 'none'; base-uri 'none'"
    headers = {
        "content-security-policy": policy,
        "x-frame-options": "DENY",
        # Not `no-referrer`: with that a browser says `Origin: null` of our own forms.
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }
    return HTMLResponse(document, status, headers)


def _target(uri: str | None) -> Iterable[str]:
    """The origin of a redirect as a policy can say it: of an IPv6 address, and of a program's own scheme, only the scheme."""
    if uri is None:
        return ()
    parts = urlsplit(uri)
    if parts.scheme in ("https", "http") and not parts.netloc.startswith("["):
        return (f"{parts.scheme}://{parts.netloc}",)
    return (f"{parts.scheme}:",)


def _way_elsewhere(number: int, name: str, form: str) -> str:
    address = f"{ELSEWHERE}?{urlencode({'provider': number, 'form': form})}"
    return f'<p><a class="button" href="{escape(address)}">Sign in with {escape(name)}</a></p>\n'


def _facts(asking: Asking) -> str:
    facts = [("Program", f"{asking.client_name} (this is what it calls itself)")]
    if asking.client_id.startswith("https://"):
        facts.append(("Described by", urlsplit(asking.client_id).netloc))
    if asking.redirect_uri is not None:
        facts.append(("You are sent on to", place_of(asking.redirect_uri)))
    if asking.user_code is not None:
        facts.append(("Code on the device", asking.user_code))
        facts.append(("The device asked from", asking.address or "an unknown address"))
    facts.append(("For the service at", asking.audience))
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)


def _warning(asking: Asking) -> str:
    if asking.user_code is not None:
        text = "Whoever holds the device can act for you. Allow it only if it shows this code and is yours."
    elif asking.redirect_uri is not None and is_loopback(asking.redirect_uri):
        text = "It is a program on this computer, and any can call itself so. Allow it only if you have just started this there."
    elif not asking.can_be_remembered:
        text = "It is a program on your device, and any can call itself so. Allow it only if you have just started this there."
    else:
        return ""
    return f'<p class="warning">{escape(text)}</p>'


def _offer(asking: Asking) -> str:
    """What it did not ask for: some programs never ask for more than at first."""
    if not asking.offered:
        return ""
    choices = "".join(_choice(scope, chosen=False) for scope in asking.offered)
    return f"<fieldset><legend>It did not ask for this; choose what it should do as well</legend>\n{choices}</fieldset>"


def _choice(scope: str, *, chosen: bool) -> str:
    words = "; ".join(words_of(scope))
    box = f'<input type="checkbox" name="scope" value="{escape(scope)}"{" checked" if chosen else ""}>'
    return f'<label class="line">{box} {escape(words)} <small>({escape(scope)})</small></label>\n'


def _remembering(asking: Asking) -> str:
    if not asking.can_be_remembered or not asking.scopes_named:
        return ""
    return '<label class="line"><input type="checkbox" name="remember" value="yes"> Do not ask again for as much</label>'


def _fault(text: str) -> str:
    return f'<p class="fault" role="alert" id="fault">{escape(text)}</p>' if text else ""


def _at_fault(fault: str) -> str:
    """Of a field that what is wrong is about: read out with it."""
    return ' aria-invalid="true" aria-describedby="fault"' if fault else ""


def _hidden(form: str) -> str:
    return f'<input type="hidden" name="form" value="{escape(form)}">'
