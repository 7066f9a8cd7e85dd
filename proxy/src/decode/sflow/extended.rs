//! What records of a flow sample say beside the packet itself.

use super::{
    layout::{Layout, Layouts, layouts, push_address},
    xdr::{Reader, Tagged, words},
};
use crate::decode::flow::record::{Line, Name, names};

/// Formats of flow records that are a row of fields.
#[rustfmt::skip]
pub static EXTENDED: &[Layout] = layouts! {
    0:1001 => U32 "SrcVlan" "SrcVlanPriority" "DstVlan" "DstVlanPriority";
    0:1002 => Address "NextHop", U32 "SrcNet" "DstNet";
    0:1004 => U32 "SrcUserCharset", Text "SrcUser", U32 "DstUserCharset", Text "DstUser";
    0:1005 => U32 "UrlDirection", Text "Url" "UrlHost";
    0:1006 => Address "MplsNextHop", Labels "MplsInLabels" "MplsOutLabels";
    0:1007 => Address "PostNatSrcAddr" "PostNatDstAddr";
    0:1008 => Text "MplsTunnelName", U32 "MplsTunnelId" "MplsTunnelCos";
    0:1009 => Text "MplsVcName", U32 "MplsVcId" "MplsVcLabelCos";
    0:1010 => Text "MplsFtnDescr", U32 "MplsFtnMask";
    0:1011 => U32 "MplsFecPrefixLength";
    0:1012 => Vlans "StrippedVlanIds";
    0:1014 => Text "RxSsid", Mac "RxBssid", U32 "RxVersion" "RxChannel", U64 "RxSpeed",
        U32 "RxRsni" "RxRcpi" "RxPacketDurationUs";
    0:1015 => Text "TxSsid", Mac "TxBssid", U32 "TxVersion" "TxTransmissions" "TxPacketDurationUs"
        "TxRetransmitDurationUs" "TxChannel", U64 "TxSpeed", U32 "TxPowerMw";
    0:1020 => U32 "PostNatSrcPort" "PostNatDstPort";
    0:1021 => U32 "TunnelOutBytes", Mac "TunnelOutSrcMac" "TunnelOutDstMac", U32 "TunnelOutEtype";
    0:1022 => U32 "TunnelInBytes", Mac "TunnelInSrcMac" "TunnelInDstMac", U32 "TunnelInEtype";
    0:1023 => U32 "TunnelOutIpBytes" "TunnelOutProto", Ipv4 "TunnelOutSrcAddr" "TunnelOutDstAddr",
        U32 "TunnelOutSrcPort" "TunnelOutDstPort" "TunnelOutTcpFlags" "TunnelOutIpTos";
    0:1024 => U32 "TunnelInIpBytes" "TunnelInProto", Ipv4 "TunnelInSrcAddr" "TunnelInDstAddr",
        U32 "TunnelInSrcPort" "TunnelInDstPort" "TunnelInTcpFlags" "TunnelInIpTos";
    0:1025 => U32 "TunnelOutIpBytes" "TunnelOutProto", Ipv6 "TunnelOutSrcAddr" "TunnelOutDstAddr",
        U32 "TunnelOutSrcPort" "TunnelOutDstPort" "TunnelOutTcpFlags" "TunnelOutIpTos";
    0:1026 => U32 "TunnelInIpBytes" "TunnelInProto", Ipv6 "TunnelInSrcAddr" "TunnelInDstAddr",
        U32 "TunnelInSrcPort" "TunnelInDstPort" "TunnelInTcpFlags" "TunnelInIpTos";
    0:1027 => U32 "DecapsulateOutOffset";
    0:1028 => U32 "DecapsulateInOffset";
    0:1029 => U32 "VniOut";
    0:1030 => U32 "VniIn";
    0:1036 => U32 "EgressQueue";
    0:1037 => U32 "AclNumber", Text "AclName", U32 "AclDirection";
    0:1038 => Text "FunctionSymbol";
    0:1039 => U32 "TransitDelayNs";
    0:1040 => U32 "QueueDepthBytes";
    0:1041 => Text "HwTrapGroup" "HwTrap";
    0:1042 => Text "LinuxDropReason";
    0:1043 => U64 "PacketTimeNs";
    0:2100 => U32 "SocketProto", Ipv4 "SocketLocalAddr" "SocketRemoteAddr", U32 "SocketLocalPort" "SocketRemotePort";
    0:2101 => U32 "SocketProto", Ipv6 "SocketLocalAddr" "SocketRemoteAddr", U32 "SocketLocalPort" "SocketRemotePort";
    0:2102 => U32 "ProxySocketProto", Ipv4 "ProxySocketLocalAddr" "ProxySocketRemoteAddr",
        U32 "ProxySocketLocalPort" "ProxySocketRemotePort";
    0:2103 => U32 "ProxySocketProto", Ipv6 "ProxySocketLocalAddr" "ProxySocketRemoteAddr",
        U32 "ProxySocketLocalPort" "ProxySocketRemotePort";
    0:2200 => U32 "MemcacheProtocol" "MemcacheCommand", Text "MemcacheKey",
        U32 "MemcacheKeys" "MemcacheValueBytes" "MemcacheDurationUs" "MemcacheStatus";
    0:2202 => Text "AppName" "AppOperation" "AppAttributes" "AppStatusText",
        U64 "AppRequestBytes" "AppResponseBytes", U32 "AppDurationUs" "AppStatus";
    0:2203 => Text "ParentAppName" "ParentAppOperation" "ParentAppAttributes";
    0:2204 => Text "AppInitiator";
    0:2205 => Text "AppTarget";
    0:2206 => U32 "HttpMethod" "HttpProtocol", Text "HttpUri" "HttpHost" "HttpReferrer" "HttpUserAgent" "HttpXff"
        "HttpAuthUser" "HttpMimeType", U64 "HttpRequestBytes" "HttpResponseBytes", U32 "HttpDurationUs" "HttpStatus";
    0:2209 => U32 "TcpDirection" "TcpSndMss" "TcpRcvMss" "TcpUnacked" "TcpLost" "TcpRetrans" "TcpPmtu" "TcpRttUs"
        "TcpRttVarUs" "TcpSndCwnd" "TcpReordering" "TcpMinRttUs";
    0:2210 => U32 "SrcEntityClass" "SrcEntityIndex" "DstEntityClass" "DstEntityIndex";
};

/// Members of one line's records.
#[derive(Debug)]
pub struct Extended {
    rows: Layouts,
    gateway: bool,
}

impl Extended {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self { rows: Layouts::new(EXTENDED), gateway: false }
    }

    /// Writes the record's members; `false` when they are not known, cannot be read or are in the line already.
    pub fn push(&mut self, record: &Tagged<'_>, line: &mut Line<'_>) -> bool {
        if (record.enterprise, record.format) != (0, 1003) {
            return self.rows.push(record, line);
        }
        if self.gateway {
            return false;
        }
        let before = line.out().len();
        self.gateway = push_gateway(record.body, line).is_some();
        if !self.gateway {
            line.out().truncate(before);
        }
        self.gateway
    }
}

/// `extended_gateway`. An empty path leads to where the router is.
fn push_gateway(data: &[u8], line: &mut Line<'_>) -> Option<()> {
    let mut reader = Reader::new(data);
    push_address(&names::BGP_NEXT_HOP, reader.address()?, line);
    let own = reader.u32()?;
    line.number(&const { Name::new("RouterAs") }, own);
    line.number(&names::SRC_AS, reader.u32()?);
    line.number(&const { Name::new("SrcPeerAs") }, reader.u32()?);
    let segments = reader.u32()?;
    let path = Path { reader, segments };
    for _ in 0..segments {
        let _set_or_sequence = reader.u32()?;
        reader.list()?;
    }
    line.number(&names::DST_AS, path.numbers().last().unwrap_or(own));
    if let Some(first) = path.numbers().next() {
        line.number(&names::NEXT_HOP_AS, first);
        line.numbers(&names::AS_PATH, path.numbers().map(u64::from));
    }
    line.numbers(&names::BGP_COMMUNITIES, words(reader.list()?).map(u64::from));
    if let Some(preference) = reader.u32() {
        line.number(&const { Name::new("LocalPref") }, preference);
    }
    Some(())
}

/// Segments of an AS path, sets and sequences alike.
#[derive(Clone, Copy)]
struct Path<'a> {
    reader: Reader<'a>,
    segments: u32,
}

impl<'a> Path<'a> {
    fn numbers(self) -> impl Iterator<Item = u32> + 'a {
        let Self { mut reader, segments } = self;
        (0..segments)
            .map_while(move |_| {
                reader.u32()?;
                reader.list()
            })
            .flat_map(words)
    }
}
