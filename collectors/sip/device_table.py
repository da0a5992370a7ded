"""What User-Agents say that a device is: patterns and classes, in the order in which they are tried.

Laws
- A pattern is matched against the whole User-Agent, in any case; `*` stands for any run of characters.
- The first pattern that matches counts, so that what is special stands before what is general (`Grandstream HT*` before
  `Grandstream*`). What no pattern names has no class: a wrong class is worse than none.

The spellings are those that the devices send by default: from vendors' manuals (Gigaset's and Cisco's pages on User-Agent, the
provisioning guides of Yealink, Poly, snom, Grandstream, Fanvil), the programs' own sources (Asterisk, FreeSWITCH, Kamailio,
OpenSIPS, PJSIP, belle-sip, baresip, JsSIP), and messages quoted in public bug reports; of the scanners, from the lists that
operators block by.
"""

from typing import Literal

DeviceClass = Literal["desk_phone", "ata", "softphone", "mobile_app", "gateway", "pbx_trunk", "scanner"]
"""`ata`: an adapter for analogue phones or fax machines. `gateway`: lines of another network (ISDN, analogue, a media gateway)
and session border controllers. `pbx_trunk`: a phone system or SIP server that registers or calls as one. `scanner`: a tool that
looks for weak accounts."""


def _patterns(listed: str) -> list[str]:
    return [pattern.strip() for pattern in listed.split(";")]


_SCANNERS = _patterns(
    """
    *friendly-scanner*; friendly-request*; *sipvicious*; *svmap*; *svwar*; *svcrack*; sipcli*; *sip-scan*; sipscan*;
    *sundayddr*; sundayaddr*; VaxSIPUserAgent*; VaxIPUserAgent*; pplsip*; iWar*; SIVuS*; Gulp*; sipptk*; sippts*;
    siparmyknife*; smap*; bluebox*; *voiphopper*; metasploit*; nmap*
    """
)
"""SIPVicious and its descendants; sipcli and VaxSIP as seen in toll fraud; SIPPTS; the tools of "Hacking Exposed VoIP"."""

_MOBILE = _patterns(
    """
    *LinphoneAndroid*; *LinphoneiOS*; *LinphoneiPhone*; Linphone*Android*; Linphone*iOS*; Linphone*iPhone*;
    *Android*belle-sip*; *iOS*belle-sip*; *Groundwire*; *Acrobits*; *Cloud Softphone*; *CloudSoftphone*;
    Zoiper*Android*; Zoiper*iOS*; Zoiper*iPhone*; Bria*iOS*; Bria*Android*; Bria*iPhone*; Bria*Mobile*; CSipSimple*;
    Sipdroid*; 3CXPhone*Android*; 3CX*iOS*; 3CX*Android*; 3CX Mobile*; 3CXPhone for iPhone*; 3CXPhone for Android*;
    Sangoma*Mobile*; Sangoma Connect*; SangomaConnect*; Wildix*Android*; Wildix*iOS*; Wildix*Mobile*;
    Yealink*Android*App*; GS Wave*; Grandstream Wave*; GSWave*; Grandstream*Wave*; Cisco*iPhone*;
    Cisco-CSF*Android*; Cisco Jabber for Android*; Cisco Jabber for iPhone*; MobileVOIP*; Gigaset*App*; FRITZ!App*;
    FRITZApp*; *iPhone*; *Android*; Ringotel*; Media5-fone*; Vippie*
    """
)
"""Telephony apps of mobile phones: by their names, and by the platform that a program names."""

_ATAS = _patterns(
    """
    Grandstream HT*; HT-5*; Grandstream*HandyTone*; Linksys/PAP*; Linksys/RTP*; Linksys/SPA2*; Linksys/SPA3*;
    Linksys/SPA8*; Linksys/WRT*; Linksys/WRP*; Sipura/*; Cisco/SPA112*; Cisco/SPA122*; Cisco/SPA232*;
    Cisco/SPA8000*; Cisco/SPA2*; Cisco-ATA*; Cisco ATA*; Cisco/ATA*; OBIHAI/*; Obihai*; PolyOBi*; Poly/OBi*;
    Poly-OBi*; FRITZ!Box*; AVM*FRITZ*; AVM Multibox*; *MP-11*FXS*; AudioCodes*MP1*; Audiocodes-Sip-Gateway-MP*;
    *Sip-Gateway-MP-1*; MP-112*; MP-114*; MP-118*; MP-124*; MP-20*; Patton SN1*; Patton SN2*; Yeastar TA*;
    Dinstar DAG*; Mediatrix 41*; Mediatrix C7*; SpeedTouch*; Thomson*ST2*; TP-Link*; Technicolor*;
    Zyxel*; Innovaphone IP2*; innovaphone IP28*; Gigaset Hybird*; Speedport*; Arcor/*; Welltech*ATA*; HT70*; HT80*;
    HT81*
    """
)
"""Adapters, and home routers that have analogue sockets."""

_SOFTPHONES = _patterns(
    """
    Zoiper*; Z 3.*; Z 5.*; Linphone*; *belle-sip*; MicroSIP*; Bria*; X-Lite*; eyeBeam*; Counterpath*; Jitsi*;
    3CXPhone*; 3CX Client*; 3CX WebClient*; 3CX Desktop*; Zulu*; Sangoma Phone*; Sangoma Talk*; Sangoma Desktop*;
    Blink*; Ekiga*; Twinkle*; PhonerLite*; Phoner*; SIPPER*; Telephone *; PJSUA*; baresip*; JsSIP*; SIP.js*;
    sipML5*; SIPjs*; webrtc*; Cisco-CSF*; Cisco Jabber*; Cisco-Jabber*; Webex*; Avaya one-X Comm*;
    Avaya Communicator*; Avaya Workplace*; Avaya IX Workplace*; Mitel*Softphone*; MiCollab*; Nero SIPPS*; SIPPS*;
    Verso Softphone*; *Softphone*; MizuPhone*; Mizu*; Express Talk*; Ozeki*; PortSIP*; PortGo*; sflphone*; Jami*;
    Microsoft*Lync*; UCCAPI*; Gigaset QuickSync*; tSIP*; Ucware*; Kapanga*; AGEphone*;
    Wildix*Collab*
    """
)

_GATEWAYS = _patterns(
    """
    *Mediant*; Audiocodes-Sip-Gateway*; AudioCodes*; Patton*; SmartNode*; Cisco-SIPGateway*; Cisco/IOS*;
    Cisco-CUBE*; Oracle*SBC*; Oracle*ESBC*; Acme Packet*; Net-Net*; Sonus*; Ribbon*; SBC*; Sippy*;
    Microsoft.PSTNHub*; *.PSTNHub.SIPProxy*; Mediatrix*; Dinstar*; Yeastar TG*; OpenVox*; GoIP*; Synway*; beroNet*;
    Berofix*; bero*fix*; Grandstream GXW*; Grandstream UCM*GW*; Sangoma Vega*; Vega*; Vega-*; Cirpack*; Genband*;
    Metaswitch*; Perimeta*; Ingate*; Edgewater*; EdgeMarc*; AnyNode*; TE-SYSTEMS*; Ferrari*; OfficeMaster*; XCAPI*;
    Lancom*; bintec*; ZTE*SBC*; Huawei*SE2*; Huawei SoftX*; Nokia*SBC*; Alcatel*SBC*; Adtran*; VoiceGateway*; GW/v.*
    """
)

_PBXS = _patterns(
    """
    Asterisk*; FPBX*; FreePBX*; FreeSWITCH*; mod_sofia*; kamailio*; OpenSIPS*; OpenSER*; Sip EXpress router*;
    3CXPhoneSystem*; 3CX Phone System*; 3CX PhoneSystem*; Cisco-CUCM*; CUCM*; Cisco-CCM*; Avaya CM*; Avaya-SM*;
    Avaya SIP Enablement*; IP Office*; Mitel-3300*; MiVoice*; Mitel Border*; MX-ONE*; OpenScape*Voice*;
    OpenScape Business*; OSBiz*; HiPath*; Alcatel-Lucent Enterprise*OXE*; OXO_*; OmniPCX*; Panasonic*KX-N*; KX-N*;
    Panasonic-MPBX*; KX-TDE*; Yeastar*; Grandstream UCM*; UCM6*; Elastix*; Issabel*; VitalPBX*; FusionPBX*; Xorcom*;
    Switchvox*; Sangoma Switch*; PBXact*; Broadsoft*; BroadWorks*; sipgate*; STARFACE*; Swyx*; SwyxWare*; NetPhone*;
    Innovaphone*; pascom*; Agfeo*; Auerswald COM*; COMpact*; COMmander*; Teles*; NEC SV*; UNIVERGE*;
    Samsung OfficeServ*; Ericsson-LG*; iPECS*; ShoreTel*; ShoreGear*; Epygi*; Vodia*; snomONE*; pbxnsip*; YATE*;
    Wazo*; XiVO*; drachtio*; jambonz*; B2BUA*; Twilio*; Telnyx*; RTPEngine*
    """
)
"""Phone systems, proxies and application servers."""

_DESK_PHONES = _patterns(
    """
    Yealink*; Polycom*; Poly*; PLCM*; snom*; Cisco-CP*; Cisco/SPA3*; Cisco/SPA5*; Cisco/SPA9*; Cisco/CP*;
    Cisco-SIPIPCommunicator*; Cisco-SIPPhone*; CSCO/*; Linksys/SPA9*; Linksys/SPA5*; Linksys*; Grandstream GRP*;
    Grandstream GXV*; Grandstream DP*; Grandstream WP*; Grandstream GHP*; Grandstream*; GXP*; GRP26*; Fanvil*;
    Aastra*; Mitel*; Gigaset*; Panasonic*; KX-*; Htek*; Akuvox*; Escene*; Atcom*; Alcatel*; Avaya*; Unify*;
    OpenStage*; OpenScape Desk*; optiPoint*; Siemens*; Digium D*; Sangoma P*; Sangoma S*; Sangoma D*; Sangoma*;
    VTech*; Tiptel*; Auerswald*; elmeg*; Spectralink*; Ascom*; Nortel*; LG-Nortel*; AudioCodes 4*; AUDC-IPPhone*;
    AUDC*; Flyingvoice*; Dinstar C*; Xorcom XP*; Algo-*; 2N *; 2N IP*; DoorBird*; CyberData*; Zenitel*; Commend*;
    Konftel*; ClearOne*; beyerdynamic*; Intelbras*; Khomp*; Wildix W*; ALE *; Axis A*
    """
)

TABLE: tuple[tuple[str, DeviceClass], ...] = (
    *((pattern, "scanner") for pattern in _SCANNERS),
    ("Fanvil A2*", "ata"),
    *((pattern, "desk_phone") for pattern in ("Fanvil*", "AudioCodes 4*", "Xorcom XP*", "Dinstar C*")),
    *(
        (pattern, "pbx_trunk")
        for pattern in ("3CXPhoneSystem*", "3CX Phone System*", "3CX PhoneSystem*", "Yeastar P-*")
    ),
    *((pattern, "mobile_app") for pattern in _MOBILE),
    *((pattern, "ata") for pattern in _ATAS),
    *((pattern, "softphone") for pattern in _SOFTPHONES),
    *((pattern, "gateway") for pattern in _GATEWAYS),
    *((pattern, "pbx_trunk") for pattern in _PBXS),
    *((pattern, "desk_phone") for pattern in _DESK_PHONES),
)
