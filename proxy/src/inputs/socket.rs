//! UDP sockets as the receiver threads use them: many datagrams per system call, with the kernel's own counts.
//!
//! All `unsafe` of the crate is here. What leaves this module is bytes, addresses and numbers.

use std::{
    fs::File,
    io::{self, Read, Write},
    mem::{MaybeUninit, size_of},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use libc::{c_int, c_void};
use socket2::{Domain, Protocol, Socket, Type};

/// Messages per system call.
const SLOTS: usize = 32;
/// Bytes per message: no datagram and no group of merged ones (`UDP_GRO`) is longer.
const SLOT: usize = 1 << 16;
/// Room for the two control messages asked for, 24 bytes each.
const CONTROL: usize = 64;
/// Length of `sockaddr_in6`, the longer of the two.
const NAME: usize = size_of::<libc::sockaddr_in6>();
/// Index of the drop counter in `SO_MEMINFO`, and their number in the oldest kernel that has it.
const MEMINFO: usize = 9;

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub(super) struct UdpSocket(Socket);

impl UdpSocket {
    /// Binds with `SO_REUSEPORT`, and with all that the receiver threads want to be told.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = open(address)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = Self(socket);
        socket.set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        // Not before Linux 5.0, and nothing but speed is lost without it.
        if let Err(error) = socket.set(libc::SOL_UDP, libc::UDP_GRO, 1) {
            tracing::debug!(%address, %error, "UDP_GRO not available");
        }
        Ok(socket)
    }

    /// Binds without `SO_REUSEPORT`, which fails when anybody holds the port, and says which address it was.
    /// `SO_REUSEPORT` alone would share the port with a stranger of the same user.
    pub fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = open(address)?;
        socket.bind(&address.into())?;
        socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Asks for a receive buffer of `bytes`, above the system's limit when allowed to, and says what it is now.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        let value = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        if self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value).is_err() {
            self.0.set_recv_buffer_size(bytes)?;
        }
        // The kernel reports twice what was asked, for its own use of the other half.
        Ok(self.0.recv_buffer_size()? / 2)
    }

    /// Datagrams the kernel dropped at this socket since it was opened, modulo 2^32.
    pub fn drops(&self) -> Option<u32> {
        let mut info = [0u32; MEMINFO];
        let mut len = size_of::<[u32; MEMINFO]>() as libc::socklen_t;
        // SAFETY: `info` and `len` live through the call and `len` is the size of `info`, which is all the kernel
        // writes to.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast::<c_void>(),
                &raw mut len,
            )
        };
        (result == 0 && len as usize >= size_of::<[u32; MEMINFO]>()).then(|| info.last().copied())?
    }

    fn set(&self, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
        // SAFETY: the kernel reads one `c_int` at the address of `value`, which lives through the call.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                name,
                (&raw const value).cast::<c_void>(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

/// What one message brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received<'a> {
    /// The bytes: one datagram, or several of one sender that the kernel merged.
    pub bytes: &'a [u8],
    /// Sender, IPv4-mapped as IPv4.
    pub source: SocketAddr,
    /// Length of each merged datagram, the last may be shorter; `None` for a single one.
    pub segment: Option<usize>,
    /// The datagram was longer than 64 KiB.
    pub truncated: bool,
    /// The kernel's drop counter of the socket when this message was queued; absent while it is 0.
    pub drops: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL]);

#[derive(Debug, Clone, Copy, Default)]
struct Meta {
    len: usize,
    truncated: bool,
    segment: Option<usize>,
    drops: Option<u32>,
}

/// Where one receiver thread receives.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    names: [[u8; NAME]; SLOTS],
    controls: [Control; SLOTS],
    metas: [Meta; SLOTS],
    filled: usize,
}

impl Inbox {
    pub fn new() -> Self {
        Self {
            // Zeroed pages come from the kernel untouched, so slots that are never filled cost no memory.
            bytes: vec![0; SLOTS * SLOT],
            names: [[0; NAME]; SLOTS],
            controls: [Control([0; CONTROL]); SLOTS],
            metas: [Meta::default(); SLOTS],
            filled: 0,
        }
    }

    /// Takes what the socket holds, at most 32 messages; `false` when nothing more was there.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.filled = 0;
        let mut vectors: [MaybeUninit<libc::iovec>; SLOTS] = [const { MaybeUninit::uninit() }; SLOTS];
        let mut headers: [MaybeUninit<libc::mmsghdr>; SLOTS] = [const { MaybeUninit::uninit() }; SLOTS];
        let slots = self.bytes.chunks_exact_mut(SLOT).zip(&mut self.names).zip(&mut self.controls);
        for (((slot, name), control), (vector, header)) in slots.zip(vectors.iter_mut().zip(&mut headers)) {
            let vector =
                vector.write(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() });
            // SAFETY: all fields of `mmsghdr` are integers and pointers, for which zero bytes are a value; the
            // padding that some C libraries have must be zero.
            let header = header.write(unsafe { std::mem::zeroed() });
            header.msg_hdr.msg_name = name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = NAME as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        // SAFETY: `headers` has `SLOTS` initialised entries (all three arrays and the arena have that many). Each
        // points to a name, a vector and a control buffer of the stated lengths, all distinct, borrowed mutably from
        // `self` or this frame and alive until after the last use of `headers`. No timeout is passed.
        let count = unsafe {
            libc::recvmmsg(
                socket.0.as_raw_fd(),
                headers.as_mut_ptr().cast::<libc::mmsghdr>(),
                SLOTS as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(error),
            };
        };
        let count = count.min(SLOTS);
        for (header, meta) in headers.iter().zip(&mut self.metas).take(count) {
            // SAFETY: all entries were written above, and the kernel filled in the first `count` of them.
            let header = unsafe { header.assume_init_ref() };
            *meta = Meta {
                len: (header.msg_len as usize).min(SLOT),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                ..controls(&header.msg_hdr)
            };
        }
        self.filled = count;
        Ok(count == SLOTS)
    }

    /// What the last [`Self::receive`] brought.
    pub fn messages(&self) -> impl Iterator<Item = Received<'_>> {
        let slots = self.bytes.chunks_exact(SLOT).zip(&self.names).zip(&self.metas).take(self.filled);
        slots.filter_map(|((slot, name), meta)| {
            Some(Received {
                bytes: slot.get(..meta.len)?,
                source: source(name)?,
                segment: meta.segment,
                truncated: meta.truncated,
                drops: meta.drops,
            })
        })
    }
}

fn controls(header: &libc::msghdr) -> Meta {
    let mut meta = Meta::default();
    // SAFETY: `header` was filled in by the kernel, and its control buffer of `msg_controllen` bytes is alive and
    // aligned for `cmsghdr`. The libc macros stay within it, and both control messages carry four bytes.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = control.as_ref() {
            let data = libc::CMSG_DATA(control).cast::<[u8; 4]>();
            match (message.cmsg_level, message.cmsg_type) {
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => meta.drops = Some(u32::from_ne_bytes(data.read())),
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    meta.segment =
                        usize::try_from(u32::from_ne_bytes(data.read())).ok().filter(|len| *len > 0);
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    meta
}

/// Address and port in a `sockaddr_in` or `sockaddr_in6`.
fn source(name: &[u8; NAME]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    let address = match c_int::from(family) {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(name.get(4..8)?).ok()?),
        libc::AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(name.get(8..24)?).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Waits for many descriptors; level-triggered.
#[derive(Debug)]
pub(super) struct Poller(OwnedFd);

impl Poller {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    /// Reports `token` while `descriptor` is readable. Closing the descriptor ends that.
    pub fn add(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` lives through the call; both descriptors are open because they are borrowed.
        let result = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, descriptor.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// No longer reports this descriptor.
    pub fn remove(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the event pointer may be null for `EPOLL_CTL_DEL`; both descriptors are open because borrowed.
        let result = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, descriptor.as_raw_fd(), ptr::null_mut())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Fills `ready` with the tokens of readable descriptors; with none after `timeout`.
    pub fn wait(&self, ready: &mut Vec<u64>, timeout: Duration) -> io::Result<()> {
        const EVENTS: usize = 64;
        ready.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // Rounded up: a millisecond too late is better than a busy loop of zeros.
        let timeout = c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
        // SAFETY: `events` has room for `EVENTS` entries and lives through the call.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), EVENTS as c_int, timeout) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        ready.extend(events.iter().take(count).map(|event| event.u64));
        Ok(())
    }
}

/// Wakes a [`Poller`] from another thread.
#[derive(Debug)]
pub(super) struct Waker(File);

impl Waker {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(|fd| Self(fd.into()))
    }

    /// Makes the descriptor readable. It can only fail when it is that already.
    pub fn wake(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Makes it unreadable again.
    pub fn reset(&self) {
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn owned(descriptor: c_int) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned by the kernel and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
