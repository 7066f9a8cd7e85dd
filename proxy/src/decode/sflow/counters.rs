//! Counter samples: one line each, with the counters of all its records.

use std::io::Write;

use super::{
    layout::{Layout, Layouts, layouts},
    xdr::{Reader, Tagged},
};
use crate::decode::flow::record::{Line, Name};

/// Formats of counter records that are a row of fields. Names are those of the MIBs and of sflow.org's structures.
#[rustfmt::skip]
pub static COUNTERS: &[Layout] = layouts! {
    0:1 => U32 "IfIndex" "IfType", U64 "IfSpeed", U32 "IfDirection" "IfStatus", U64 "IfInOctets",
        U32 "IfInUcastPkts" "IfInMulticastPkts" "IfInBroadcastPkts" "IfInDiscards" "IfInErrors" "IfInUnknownProtos",
        U64 "IfOutOctets",
        U32 "IfOutUcastPkts" "IfOutMulticastPkts" "IfOutBroadcastPkts" "IfOutDiscards" "IfOutErrors" "IfPromiscuousMode";
    0:2 => U32 "Dot3StatsAlignmentErrors" "Dot3StatsFCSErrors" "Dot3StatsSingleCollisionFrames"
        "Dot3StatsMultipleCollisionFrames" "Dot3StatsSQETestErrors" "Dot3StatsDeferredTransmissions"
        "Dot3StatsLateCollisions" "Dot3StatsExcessiveCollisions" "Dot3StatsInternalMacTransmitErrors"
        "Dot3StatsCarrierSenseErrors" "Dot3StatsFrameTooLongs" "Dot3StatsInternalMacReceiveErrors"
        "Dot3StatsSymbolErrors";
    0:3 => U32 "Dot5StatsLineErrors" "Dot5StatsBurstErrors" "Dot5StatsACErrors" "Dot5StatsAbortTransErrors"
        "Dot5StatsInternalErrors" "Dot5StatsLostFrameErrors" "Dot5StatsReceiveCongestions"
        "Dot5StatsFrameCopiedErrors" "Dot5StatsTokenErrors" "Dot5StatsSoftErrors" "Dot5StatsHardErrors"
        "Dot5StatsSignalLoss" "Dot5StatsTransmitBeacons" "Dot5StatsRecoverys" "Dot5StatsLobeWires"
        "Dot5StatsRemoves" "Dot5StatsSingles" "Dot5StatsFreqErrors";
    0:4 => U32 "Dot12InHighPriorityFrames", U64 "Dot12InHighPriorityOctets", U32 "Dot12InNormPriorityFrames",
        U64 "Dot12InNormPriorityOctets", U32 "Dot12InIPMErrors" "Dot12InOversizeFrameErrors" "Dot12InDataErrors"
        "Dot12InNullAddressedFrames" "Dot12OutHighPriorityFrames", U64 "Dot12OutHighPriorityOctets",
        U32 "Dot12TransitionIntoTrainings", U64 "Dot12HCInHighPriorityOctets" "Dot12HCInNormPriorityOctets"
        "Dot12HCOutHighPriorityOctets";
    0:5 => U32 "VlanId", U64 "VlanOctets", U32 "VlanUcastPkts" "VlanMulticastPkts" "VlanBroadcastPkts" "VlanDiscards";
    0:6 => U32 "Dot11TransmittedFragmentCount" "Dot11MulticastTransmittedFrameCount" "Dot11FailedCount"
        "Dot11RetryCount" "Dot11MultipleRetryCount" "Dot11FrameDuplicateCount" "Dot11RTSSuccessCount"
        "Dot11RTSFailureCount" "Dot11ACKFailureCount" "Dot11ReceivedFragmentCount"
        "Dot11MulticastReceivedFrameCount" "Dot11FCSErrorCount" "Dot11TransmittedFrameCount"
        "Dot11WEPUndecryptableCount" "Dot11QoSDiscardedFragmentCount" "Dot11AssociatedStationCount"
        "Dot11QoSCFPollsReceivedCount" "Dot11QoSCFPollsUnusedCount" "Dot11QoSCFPollsUnusableCount"
        "Dot11QoSCFPollsLostCount";
    0:7 => Mac "LacpActorSystemId" "LacpPartnerSystemId", U32 "LacpAttachedAggId" "LacpPortState" "LacpPdusRx"
        "LacpMarkerPdusRx" "LacpMarkerResponsePdusRx" "LacpUnknownRx" "LacpIllegalRx" "LacpPdusTx"
        "LacpMarkerPdusTx" "LacpMarkerResponsePdusTx";
    0:1001 => U32 "FiveSecCpu" "OneMinCpu" "FiveMinCpu", U64 "TotalMemory" "FreeMemory";
    0:1002 => U32 "RadioElapsedMs" "RadioOnChannelMs" "RadioOnChannelBusyMs";
    0:1004 => U64 "OpenFlowDatapathId", U32 "OpenFlowPort";
    0:1005 => Text "PortName";
    0:2000 => Text "HostName", Uuid "HostUuid", U32 "HostMachineType" "HostOsName", Text "HostOsRelease";
    0:2002 => U32 "ParentClass" "ParentIndex";
    0:2003 => F32 "LoadOne" "LoadFive" "LoadFifteen", U32 "ProcRun" "ProcTotal" "CpuNum" "CpuSpeed" "UptimeSeconds"
        "CpuUser" "CpuNice" "CpuSystem" "CpuIdle" "CpuWio" "CpuIntr" "CpuSintr" "Interrupts" "Contexts" "CpuSteal"
        "CpuGuest" "CpuGuestNice";
    0:2004 => U64 "MemTotal" "MemFree" "MemShared" "MemBuffers" "MemCached" "SwapTotal" "SwapFree",
        U32 "PageIn" "PageOut" "SwapIn" "SwapOut";
    0:2005 => U64 "DiskTotal" "DiskFree", U32 "DiskPartMaxUsed" "DiskReads", U64 "DiskBytesRead",
        U32 "DiskReadMs" "DiskWrites", U64 "DiskBytesWritten", U32 "DiskWriteMs";
    0:2006 => U64 "NioBytesIn", U32 "NioPktsIn" "NioErrsIn" "NioDropsIn", U64 "NioBytesOut",
        U32 "NioPktsOut" "NioErrsOut" "NioDropsOut";
    0:2007 => U32 "IpForwarding" "IpDefaultTTL" "IpInReceives" "IpInHdrErrors" "IpInAddrErrors" "IpForwDatagrams"
        "IpInUnknownProtos" "IpInDiscards" "IpInDelivers" "IpOutRequests" "IpOutDiscards" "IpOutNoRoutes"
        "IpReasmTimeout" "IpReasmReqds" "IpReasmOKs" "IpReasmFails" "IpFragOKs" "IpFragFails" "IpFragCreates";
    0:2008 => U32 "IcmpInMsgs" "IcmpInErrors" "IcmpInDestUnreachs" "IcmpInTimeExcds" "IcmpInParamProbs"
        "IcmpInSrcQuenchs" "IcmpInRedirects" "IcmpInEchos" "IcmpInEchoReps" "IcmpInTimestamps" "IcmpInAddrMasks"
        "IcmpInAddrMaskReps" "IcmpOutMsgs" "IcmpOutErrors" "IcmpOutDestUnreachs" "IcmpOutTimeExcds"
        "IcmpOutParamProbs" "IcmpOutSrcQuenchs" "IcmpOutRedirects" "IcmpOutEchos" "IcmpOutEchoReps"
        "IcmpOutTimestamps" "IcmpOutTimestampReps" "IcmpOutAddrMasks" "IcmpOutAddrMaskReps";
    0:2009 => U32 "TcpRtoAlgorithm" "TcpRtoMin" "TcpRtoMax" "TcpMaxConn" "TcpActiveOpens" "TcpPassiveOpens"
        "TcpAttemptFails" "TcpEstabResets" "TcpCurrEstab" "TcpInSegs" "TcpOutSegs" "TcpRetransSegs" "TcpInErrs"
        "TcpOutRsts" "TcpInCsumErrors";
    0:2010 => U32 "UdpInDatagrams" "UdpNoPorts" "UdpInErrors" "UdpOutDatagrams" "UdpRcvbufErrors"
        "UdpSndbufErrors" "UdpInCsumErrors";
    0:2100 => U32 "NodeMhz" "NodeCpus", U64 "NodeMemory" "NodeMemoryFree", U32 "NodeDomains";
    0:2101 => U32 "VirtState" "VirtCpuTimeMs" "VirtCpus";
    0:2102 => U64 "VirtMemory" "VirtMaxMemory";
    0:2103 => U64 "VirtDiskCapacity" "VirtDiskAllocation" "VirtDiskAvailable", U32 "VirtDiskReadRequests",
        U64 "VirtDiskReadBytes", U32 "VirtDiskWriteRequests", U64 "VirtDiskWriteBytes", U32 "VirtDiskErrors";
    0:2104 => U64 "VirtBytesIn", U32 "VirtPktsIn" "VirtErrsIn" "VirtDropsIn", U64 "VirtBytesOut",
        U32 "VirtPktsOut" "VirtErrsOut" "VirtDropsOut";
    0:2105 => Text "JvmName" "JvmVendor" "JvmVersion";
    0:2106 => U64 "JvmHeapInitial" "JvmHeapUsed" "JvmHeapCommitted" "JvmHeapMax" "JvmNonHeapInitial"
        "JvmNonHeapUsed" "JvmNonHeapCommitted" "JvmNonHeapMax",
        U32 "JvmGcCount" "JvmGcMs" "JvmClassesLoaded" "JvmClassesTotal" "JvmClassesUnloaded" "JvmCompilationMs"
        "JvmThreadsLive" "JvmThreadsDaemon" "JvmThreadsStarted" "JvmFdsOpen" "JvmFdsMax";
    0:2201 => U32 "HttpMethodOption" "HttpMethodGet" "HttpMethodHead" "HttpMethodPost" "HttpMethodPut"
        "HttpMethodDelete" "HttpMethodTrace" "HttpMethodConnect" "HttpMethodOther" "HttpStatus1xx" "HttpStatus2xx"
        "HttpStatus3xx" "HttpStatus4xx" "HttpStatus5xx" "HttpStatusOther";
    0:2202 => Text "AppName", U32 "AppStatusOk" "AppErrorsOther" "AppErrorsTimeout" "AppErrorsInternal"
        "AppErrorsBadRequest" "AppErrorsForbidden" "AppErrorsTooLarge" "AppErrorsNotImplemented" "AppErrorsNotFound"
        "AppErrorsUnavailable" "AppErrorsUnauthorized";
    0:2203 => U32 "AppUserMs" "AppSystemMs", U64 "AppMemUsed" "AppMemMax",
        U32 "AppFdsOpen" "AppFdsMax" "AppConnsOpen" "AppConnsMax";
    0:2206 => U32 "AppWorkersActive" "AppWorkersIdle" "AppWorkersMax" "AppRequestsDelayed" "AppRequestsDropped";
    0:2207 => U32 "OvsHits" "OvsMisses" "OvsLost" "OvsMaskHits" "OvsFlows" "OvsMasks";
    4413:3 => U32 "BcmHostEntries" "BcmHostEntriesMax" "BcmIpv4Entries" "BcmIpv4EntriesMax" "BcmIpv6Entries"
        "BcmIpv6EntriesMax" "BcmIpv4Ipv6Entries" "BcmIpv4Ipv6EntriesMax" "BcmLongIpv6Entries"
        "BcmLongIpv6EntriesMax" "BcmTotalRoutes" "BcmTotalRoutesMax" "BcmEcmpNexthops" "BcmEcmpNexthopsMax"
        "BcmMacEntries" "BcmMacEntriesMax" "BcmIpv4Neighbors" "BcmIpv6Neighbors" "BcmIpv4Routes" "BcmIpv6Routes"
        "BcmAclIngressEntries" "BcmAclIngressEntriesMax" "BcmAclIngressCounters" "BcmAclIngressCountersMax"
        "BcmAclIngressMeters" "BcmAclIngressMetersMax" "BcmAclIngressSlices" "BcmAclIngressSlicesMax"
        "BcmAclEgressEntries" "BcmAclEgressEntriesMax" "BcmAclEgressCounters" "BcmAclEgressCountersMax"
        "BcmAclEgressMeters" "BcmAclEgressMetersMax" "BcmAclEgressSlices" "BcmAclEgressSlicesMax";
    5703:1 => U32 "GpuDevices" "GpuProcesses" "GpuTimeMs" "GpuMemTimeMs", U64 "GpuMemTotal" "GpuMemFree",
        U32 "GpuEccErrors" "GpuEnergyMj" "GpuTemperature" "GpuFanSpeed";
};

/// Members of one line's records.
#[derive(Debug)]
pub struct Counters {
    rows: Layouts,
    adapters: bool,
    optics: bool,
}

impl Counters {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self { rows: Layouts::new(COUNTERS), adapters: false, optics: false }
    }

    /// Writes the record's members; `false` when they are not known, cannot be read or are in the line already.
    pub fn push(&mut self, record: &Tagged<'_>, line: &mut Line<'_>) -> bool {
        match (record.enterprise, record.format) {
            (0, 10) => once(&mut self.optics, line, |line| push_optics(record.body, line)),
            (0, 2001) => once(&mut self.adapters, line, |line| push_adapters(record.body, line)),
            _ => self.rows.push(record, line),
        }
    }
}

/// Does it if it is not done; nothing stays of it when it fails.
fn once(done: &mut bool, line: &mut Line<'_>, push: impl FnOnce(&mut Line<'_>) -> Option<()>) -> bool {
    if *done {
        return false;
    }
    let before = line.out().len();
    *done = push(line).is_some();
    if !*done {
        line.out().truncate(before);
    }
    *done
}

/// `host_adapters`: `[{"IfIndex":1,"Macs":["02:00:5e:10:00:01"]}]`.
fn push_adapters(data: &[u8], line: &mut Line<'_>) -> Option<()> {
    let mut reader = Reader::new(data);
    let count = reader.u32()?;
    line.name(&const { Name::new("HostAdapters") });
    push_list(count, line.out(), |out| {
        // Writing to a Vec cannot fail.
        drop(write!(out, "{{\"IfIndex\":{},\"Macs\":", reader.u32()?));
        let macs = reader.u32()?;
        push_list(macs, out, |out| {
            let mac = reader.mac()?.map(|byte| format!("{byte:02x}")).join(":");
            drop(write!(out, "\"{mac}\""));
            Some(())
        })?;
        out.push(b'}');
        Some(())
    })
}

/// Lanes of an optical module, in the order of their fields.
const LANE: [&str; 10] = [
    "Index",
    "TxBiasCurrentUa",
    "TxPowerUw",
    "TxPowerMinUw",
    "TxPowerMaxUw",
    "TxWavelengthNm",
    "RxPowerUw",
    "RxPowerMinUw",
    "RxPowerMaxUw",
    "RxWavelengthNm",
];

/// `sfp`: an optical module and a list of objects for its lanes.
fn push_optics(data: &[u8], line: &mut Line<'_>) -> Option<()> {
    let mut reader = Reader::new(data);
    line.number(&const { Name::new("OpticsModule") }, reader.u32()?);
    line.number(&const { Name::new("OpticsTotalLanes") }, reader.u32()?);
    line.number(&const { Name::new("OpticsSupplyMv") }, reader.u32()?);
    line.signed(&const { Name::new("OpticsTemperatureMc") }, i64::from(reader.u32()? as i32));
    let lanes = reader.u32()?;
    line.name(&const { Name::new("OpticsLanes") });
    push_list(lanes, line.out(), |out| {
        for (index, name) in LANE.into_iter().enumerate() {
            let before = if index > 0 { ',' } else { '{' };
            drop(write!(out, "{before}\"{name}\":{}", reader.u32()?));
        }
        out.push(b'}');
        Some(())
    })
}

/// Appends `[…]`. A count beyond what is there ends at the first value that cannot be read.
fn push_list(count: u32, out: &mut Vec<u8>, mut push: impl FnMut(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    out.push(b'[');
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        push(out)?;
    }
    out.push(b']');
    Some(())
}
