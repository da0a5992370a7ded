"""sipp scenarios of the office, composed from the messages that they share.

Laws
- A caller says who it is with `-key caller` and whom it calls with `-key dialled`; where the phone system challenges
  it, it answers with `-au` and `-ap` (RFC 3261 section 22). A phone says its own number with `-key user`.
- `ms` is how long a caller talks (or lets it ring) and how long a phone rings. It is part of the scenario, because
  sipp can wait for a message with a limit only where the limit is written there.
- Every scenario ends by itself, whoever hangs up first; a message that none of its states allows is a failed call.
"""

SDP = """
v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=ptime:20
"""

REFUSALS = (404, 480, 486, 487, 503, 603)
"""What Asterisk answers to a call that nobody took: not found, no answer, busy, cancelled, no channel, declined."""


def send(message: str, *, retrans: bool = True, next: str = "") -> str:
    """`retrans` where this end repeats the message until it is answered: not an ACK nor a provisional answer."""
    attributes = ' retrans="500"' * retrans + f' next="{next}"' * bool(next)
    return f"  <send{attributes}><![CDATA[\n{message}\n]]></send>\n"


def recv(expected: str, *, next: str = "", optional: bool = False, extra: str = "") -> str:
    """`extra`: further attributes. Responses are named by their code, requests by their method."""
    kind = "response" if expected.isdigit() else "request"
    attributes = ' optional="true"' * optional + f' next="{next}"' * bool(next) + extra
    return f'  <recv {kind}="{expected}"{attributes}/>\n'


def label(name: str) -> str:
    return f'  <label id="{name}"/>\n'


def recv_or(expected: str, ms: int, *, otherwise: str, next: str = "") -> str:
    """Go `otherwise` where `expected` has not come after `ms`."""
    return recv(expected, next=next, extra=f' timeout="{ms}" ontimeout="{otherwise}"')


def pause_unless(expected: str, ms: int, *, next: str) -> str:
    """Wait for `ms`; but where `expected` comes meanwhile, go to `next`. (sipp takes no message in its own pause.)"""
    no = f"no_{expected.lower()}"
    return recv_or(expected, ms, otherwise=no, next=next) + label(no)


def pause(ms: int) -> str:
    return f'  <pause milliseconds="{ms}"/>\n'


# ---- callers


def request(method: str, uri: str, cseq: str, *, via: str = "", to: str = "[last_To:]", extra: str = "") -> str:
    via = via or "Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]"
    return f"""{method} {uri} SIP/2.0
{via}
From: "[caller]" <sip:[caller]@[remote_ip]>;tag=[pid]C[call_number]
{to}
Call-ID: [call_id]
CSeq: {cseq} {method}
Max-Forwards: 70
User-Agent: Lab phone
{extra}"""


TO = "To: <sip:[dialled]@[remote_ip]>"
URI = "sip:[dialled]@[remote_ip]:[remote_port]"
EMPTY = "Content-Length: 0\n"
CONTACT = "Contact: <sip:[caller]@[local_ip]:[local_port]>\n"
OFFER = CONTACT + "Content-Type: application/sdp\nContent-Length: [len]\n" + SDP

INVITE = request("INVITE", URI, "1", to=TO, extra=OFFER)
INVITE_WITH_PASSWORD = request("INVITE", URI, "2", to=TO, extra="[authentication]\n" + OFFER)
ACK_OF_REFUSAL = request("ACK", URI, "[last_cseq_number]", via="[last_Via:]", extra=EMPTY)  # RFC 3261 17.1.1.3
ACK = request("ACK", "[next_url]", "[last_cseq_number]", extra="[routes]\n" + EMPTY)
BYE = request("BYE", "[next_url]", "3", extra="[routes]\n" + EMPTY)
CANCEL = request("CANCEL", URI, "2", via="[last_Via:]", to=TO, extra=EMPTY)  # RFC 3261 9.1
OK = """SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0
"""


def dial(on_progress: str) -> str:
    """INVITE, and once more with a password where that is asked for; from either on with `on_progress`, which leads to
    a label behind it. (It is written twice because sipp does not stop repeating a request when the answer stands
    before it in the file.)"""
    return (
        send(INVITE)
        + recv("100", optional=True)
        + recv("401", optional=True, next="challenged", extra=' auth="true"')
        + on_progress
        + label("challenged")
        + send(ACK_OF_REFUSAL, retrans=False)
        + send(INVITE_WITH_PASSWORD)
        + recv("100", optional=True)
        + on_progress
    )


def call(ms: int, media: str = "") -> str:
    refused = "".join(recv(str(code), optional=True, next="refused") for code in REFUSALS)
    ringing = recv("180", optional=True) + recv("183", optional=True)
    return (
        dial(ringing + refused + recv("200", next="answered", extra=' rrs="true"'))
        + label("answered")
        + send(ACK, retrans=False)
        + media
        + pause_unless("BYE", ms, next="hung_up")
        + send(BYE)
        + recv("200", next="end")
        + label("hung_up")
        + send(OK, retrans=False, next="end")
        + label("refused")
        + send(ACK_OF_REFUSAL, retrans=False)
        + label("end")
    )


def give_up(ms: int) -> str:
    return (
        dial(recv("180", next="ringing"))
        + label("ringing")
        + pause(ms)
        + send(CANCEL)
        + recv("200")
        + recv("487")
        + send(ACK_OF_REFUSAL, retrans=False)
    )


SPEECH = "speech.ulaw"
"""The sound that `speak` plays, in the folder where sipp runs."""
PLAY_SPEECH = f'  <nop><action><exec rtp_stream="{SPEECH},-1,0"/></action></nop>\n'


def register(ms: int) -> str:
    def message(cseq: int, authentication: str) -> str:
        return f"""REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: <sip:[user]@[remote_ip]>;tag=[pid]R[call_number]
To: <sip:[user]@[remote_ip]>
Call-ID: [call_id]
CSeq: {cseq} REGISTER
Contact: <sip:[user]@[contact]>
{authentication}Max-Forwards: 70
User-Agent: Lab phone
Expires: 600
Content-Length: 0
"""

    return (
        send(message(1, "")) + recv("401", extra=' auth="true"') + send(message(2, "[authentication]\n")) + recv("200")
    )


# ---- phones


def response(line: str, *, cseq: str = "[last_CSeq:]", extra: str = EMPTY) -> str:
    return f"""SIP/2.0 {line}
[last_Via:]
[last_From:]
[last_To:];tag=[pid]P[call_number]
[last_Call-ID:]
{cseq}
Contact: <sip:[user]@[local_ip]:[local_port]>
{extra}"""


ANSWER = "Content-Type: application/sdp\nContent-Length: [len]\n" + SDP
CANCELLED = (
    label("cancelled")
    + send(OK, retrans=False)
    + send(response("487 Request Terminated", cseq="CSeq: [last_cseq_number] INVITE"))
    + recv("ACK", next="end")
)
HUNG_UP = recv("BYE") + send(OK, retrans=False, next="end")

INVITED = """  <recv request="INVITE" rrs="true">
    <action>
      <ereg regexp=".*" search_in="hdr" header="From:" assign_to="remote"/>
      <ereg regexp=".*" search_in="hdr" header="To:" assign_to="local"/>
    </action>
  </recv>
"""
"""Keeps both ends' names, for the requests that the phone itself sends in the dialog (RFC 3261 section 12.2.1.1)."""


def in_dialog(method: str, cseq: int, extra: str = "") -> str:
    return f"""{method} [next_url] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From:[$local];tag=[pid]P[call_number]
To:[$remote]
Call-ID: [call_id]
CSeq: {cseq} {method}
Contact: <sip:[user]@[local_ip]:[local_port]>
Max-Forwards: 70
{extra}Content-Length: 0
"""


def picked_up(invited: str, ms: int) -> str:
    return (
        invited
        + send(response("180 Ringing"), retrans=False)
        + pause_unless("CANCEL", ms, next="cancelled")
        + send(response("200 OK", extra=ANSWER))
        + recv("ACK")
    )


def answer(ms: int) -> str:
    return picked_up(recv("INVITE"), ms) + HUNG_UP + CANCELLED + label("end")


def hang_up(ms: int) -> str:
    """Answers, and hangs up first: after two and a half seconds."""
    ended = pause(2500) + send(in_dialog("BYE", 1)) + recv("200", next="end")
    return picked_up(INVITED, ms) + ended + CANCELLED + label("end")


def ring(ms: int) -> str:
    return recv("INVITE") + send(response("180 Ringing"), retrans=False) + recv("CANCEL") + CANCELLED + label("end")


def busy(ms: int) -> str:
    return recv("INVITE") + send(response("486 Busy Here")) + recv("ACK")


def refer(ms: int) -> str:
    """Answers, sends the caller on to `-key to` unannounced (RFC 5589 section 6.1), and leaves when it has heard nothing
    more of that for two seconds: how it goes comes in NOTIFYs (RFC 3515 section 2.4.4)."""
    refer_to = "Refer-To: <sip:[to]@[remote_ip]:[remote_port]>\nReferred-By: <sip:[user]@[remote_ip]>\n"
    asked = pause(1000) + send(in_dialog("REFER", 1, refer_to)) + recv("202")
    told = label("told") + recv_or("NOTIFY", 2000, otherwise="left") + send(OK, retrans=False, next="told")
    left = label("left") + send(in_dialog("BYE", 2)) + recv("200", next="end")
    return picked_up(INVITED, ms) + asked + told + left + CANCELLED + label("end")


CONSULTATION_ID = "c///"
"""sipp takes what stands behind three slashes for the Call-ID, so one of its calls can have two dialogs."""


def consult(method: str, cseq: str, *, to: str, extra: str = EMPTY, via: str = "") -> str:
    """A request of the transferring phone's own call to `-key to`."""
    return f"""{method} sip:[to]@[remote_ip]:[remote_port] SIP/2.0
{via or "Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]"}
From: <sip:[user]@[remote_ip]>;tag=[pid]B[call_number]
{to}
Call-ID: {CONSULTATION_ID}[call_id]
CSeq: {cseq} {method}
Contact: <sip:[user]@[local_ip]:[local_port]>
Max-Forwards: 70
{extra}"""


CONSULTED = """  <recv response="200">
    <action>
      <ereg regexp="tag=([^;]*)" search_in="hdr" header="To:" assign_to="all,their_tag"/>
    </action>
  </recv>
  <Reference variables="all"/>
"""


def consultation() -> str:
    to = "To: <sip:[to]@[remote_ip]>"
    offer = "Content-Type: application/sdp\nContent-Length: [len]\n" + SDP
    return (
        send(consult("INVITE", "1", to=to, extra=offer))
        + recv("100", optional=True)
        + recv("401", extra=' auth="true"')
        + send(consult("ACK", "1", to="[last_To:]", via="[last_Via:]"), retrans=False)
        + send(consult("INVITE", "2", to=to, extra="[authentication]\n" + offer))
        + recv("100", optional=True)
        + recv("180", optional=True)
        + CONSULTED
        + send(consult("ACK", "2", to="[last_To:]"), retrans=False)
    )


def attend(ms: int) -> str:
    """Answers, calls `-key to` and asks, then connects both (RFC 5589 section 7.3: REFER with Replaces), and leaves."""
    replaces = CONSULTATION_ID + "[call_id]%3Bto-tag%3D[$their_tag]%3Bfrom-tag%3D[pid]B[call_number]"
    refer_to = f"Refer-To: <sip:[to]@[remote_ip]:[remote_port]?Replaces={replaces}>\n"
    asked = pause(1000) + send(in_dialog("REFER", 1, refer_to)) + recv("202")
    told = (
        label("told")
        + recv("BYE", optional=True, next="released", extra=' timeout="2000" ontimeout="left"')
        + recv_or("NOTIFY", 2000, otherwise="left")
        + label("released")
        + send(OK, retrans=False, next="told")
    )
    left = label("left") + send(in_dialog("BYE", 2)) + recv("200", next="end")
    return (
        picked_up(INVITED, ms)
        + pause(500)
        + consultation()
        + pause(500)
        + asked
        + told
        + left
        + CANCELLED
        + label("end")
    )


SCENARIOS = {
    "call": call,
    "speak": lambda ms: call(ms, PLAY_SPEECH),
    "give_up": give_up,
    "register": register,
    "answer": answer,
    "hang_up": hang_up,
    "ring": ring,
    "busy": busy,
    "refer": refer,
    "attend": attend,
}


def scenario(name: str, ms: int) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{name}">\n{SCENARIOS[name](ms)}</scenario>\n'
