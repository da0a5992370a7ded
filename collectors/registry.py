"""Which kinds of source there are: one explicit table, filled by nobody but this file."""

from collections.abc import Mapping
from types import MappingProxyType

from collectors.asterisk_cdr.kind import KIND as ASTERISK_CDR
from collectors.contract import Kind
from collectors.hep.kind import KIND as HEP
from collectors.sip.kind import KIND as SIP
from collectors.syslog.kind import KIND as SYSLOG

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in (ASTERISK_CDR, SIP, HEP, SYSLOG)})
