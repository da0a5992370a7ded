"""What kind of device a User-Agent names. The strings are those that devices send, from vendors' pages and captures."""

import pytest

from collectors.sip.device_table import TABLE
from collectors.sip.devices import REMEMBERED, Devices, mac_address, says_mobile

SAID = {
    "desk_phone": (
        "Yealink SIP-T46S 66.85.0.5",
        "PolycomVVX-VVX_411-UA/5.9.5.0614_0004f2abcdef",
        "PolyEdge-Edge_E350-UA/8.1.1.0612",
        "snomD375/10.1.46.16",
        "Cisco-CP8841-3PCC/11.3.1",
        "Cisco/SPA504G-7.6.2SR5",
        "Linksys/SPA942-6.1.5(a)",
        "Grandstream GXP2170 1.0.9.132",
        "Grandstream GRP2614 1.0.5.48",
        "Fanvil X4 2.12.1",
        "Aastra 6731i/3.3.1.2235",
        "Mitel-6930-SIP/5.1.0",
        "Gigaset N870 IP PRO/83.V2.12.0+build.e6c1b5b;7C2F80XXXXXX",
        "Panasonic_KX-UT136-B/01.221",
        "Htek UC926 2.0.4.4.37",
        "AUDC-IPPhone/2.2.16",
        "Avaya one-X Deskphone 7.1.0.1",
        "OpenStage_60_V3 R5.7.0",
    ),
    "ata": (
        "Grandstream HT801 1.0.0.85",
        "Grandstream HT-503  V1.1B 1.0.10.9  chip V2.2",
        "Linksys/PAP2T-5.1.6(LS)",
        "Cisco/SPA112-1.4.1(SR5)",
        "Sipura/SPA2000-3.1.5",
        "OBIHAI/OBi202-3.2.2.5921",
        "AVM FRITZ!Box 7590 154.07.29",
        "Audiocodes-Sip-Gateway-MP-114 FXS/v.6.60A.342.003",
    ),
    "softphone": (
        "Zoiper rv2.10.3.2",
        "Z 3.3.25608 rv2.8.37",
        "Linphone Desktop/4.4.2 (belle-sip/4.5.1)",
        "MicroSIP/3.14.5",
        "Bria 6 release 6.3.0",
        "X-Lite release 1103m",
        "Jitsi2.10.5550Windows 10",
        "3CXPhone for Windows 15.0.5",
        "PJSUA v2.12 Linux-5.10/x86_64/glibc-2.31",
        "JsSIP 3.10.0",
        "Zulu 3.2.1",
        "Nero SIPPS IP Phone Version 2.0.51.16",
    ),
    "mobile_app": (
        "LinphoneAndroid/4.6.6 (Pixel 5) LinphoneSDK/5.1.40",
        "DemoApplication_Android/7.0_OS_3.1.8 (belle-sip/1.6.3)",
        "Acrobits Groundwire/5.15",
        "Zoiper for Android 2.10.8",
        "Grandstream Wave 1.0.3.34",
    ),
    "gateway": (
        "Mediant 800C/v.7.20A.258.457",
        "Patton SN4960 5BIS 00A0BA0B9B8B R6.9",
        "Cisco-SIPGateway/IOS-15.6.3.M2",
        "Microsoft.PSTNHub.SIPProxy v.2022.12.7.1",
        "Sippy Softswitch v4.5",
        "Sonus_UAC",
        "Oracle E-SBC",
        "Cirpack/v4.38e (gw_sip)",
    ),
    "pbx_trunk": (
        "Asterisk PBX 18.9-cert4",
        "FPBX-16.0.40.7(18.16.0)",
        "FreeSWITCH-mod_sofia/1.10.7-release",
        "kamailio (5.6.3 (x86_64/linux))",
        "OpenSIPS (2.4.5 (x86_64/linux))",
        "3CXPhoneSystem 18.0.5.418",
        "Cisco-CUCM12.5",
        "Avaya CM/R018x.01.0.890.0",
        "IP Office 11.1.2.0",
    ),
    "scanner": ("friendly-scanner", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "sipvicious", "pplsip", "sundayddr", "Gulp"),
    "": ("", "Deskphone/1.0", "sipp", "Unknown", "\x00\xff"),
}


@pytest.mark.parametrize(("agent", "kind"), [(agent, kind) for kind, agents in SAID.items() for agent in agents])
def test_what_a_user_agent_names(agent: str, kind: str) -> None:
    assert Devices().of_agent(agent.encode()) == kind


@pytest.mark.parametrize(("pattern", "kind"), TABLE)
def test_every_pattern_of_the_table_can_match(pattern: str, kind: str) -> None:
    """One that stands behind a wider one would be dead."""
    assert Devices().of_agent(pattern.replace("*", "0").encode()) == kind


def test_the_sites_own_patterns_go_first() -> None:
    own = Devices({"MyPhone*": "desk_phone", "Zoiper*": "mobile_app", "friendly-scanner": "desk_phone"})
    told = [own.of_agent(agent) for agent in (b"myphone 7", b"Zoiper rv2", b"friendly-scanner", b"Asterisk PBX")]
    assert told == ["desk_phone", "mobile_app", "desk_phone", "pbx_trunk"]


@pytest.mark.parametrize(
    ("uri", "params", "mobile"),
    [
        (b"sip:101@192.0.2.1;pn-provider=fcm;pn-prid=abc;pn-param=x", b"", True),
        (b"sip:101@192.0.2.1;app-id=org.linphone;pn-type=firebase;pn-tok=abc", b"", True),
        (b"sip:101@192.0.2.1", b';+sip.instance="<urn:gsma:imei:90420156-025763-0>"', True),
        (b"sip:101@192.0.2.1", b';+sip.instance="<urn:uuid:pn-provider>"', False),
        (b"sip:101@192.0.2.1;transport=tcp", b";expires=60", False),
    ],
)
def test_a_contact_that_asks_for_push_is_a_mobile_app(uri: bytes, params: bytes, mobile: bool) -> None:
    """RFC 8599 section 4.1.1: the parameters stand in the contact's URI."""
    assert says_mobile(uri, params) is mobile


def test_push_outranks_the_table_and_the_site_outranks_push() -> None:
    assert Devices().of_contact(b"Linphone/4", mobile=True) == "mobile_app"
    assert Devices({"Linphone*": "softphone"}).of_contact(b"Linphone/4", mobile=True) == "softphone"
    assert Devices().of_contact(b"Linphone/4", mobile=False) == "softphone"


@pytest.mark.parametrize(
    ("told", "address"),
    [
        (b"Yealink SIP-T28P 2.72.14.2 00:15:65:18:72:eb", "0015651872eb"),
        (b"Gigaset N670 IP PRO/83.V2.23.0;589EC600C8A9", "589ec600c8a9"),
        (b'+u.sip!devicename.ccm.cisco.com="SEP001122334455"', "001122334455"),
        (b"Phone build 202401151230", ""),
        (b"Zoiper rv2.10.3.2", ""),
    ],
)
def test_the_mac_address_that_a_phone_names(told: bytes, address: str) -> None:
    assert mac_address(told) == address


def test_a_flood_of_invented_user_agents_takes_no_memory() -> None:
    devices = Devices()
    for number in range(3 * REMEMBERED):
        devices.of_agent(b"x%d" % number)
    assert devices.of_agent.cache_info().currsize == REMEMBERED
