//! Lines of connections to the spool.

use std::cell::RefCell;

use super::{InputContext, Route};
use crate::{
    batch::{LineBuffer, Reservation},
    spool::member::Compressor,
};

thread_local! {
    /// A deflate state is large, and only one connection at a time compresses on a thread.
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
}

/// Hands lines over; waits while the spool is full or memory is used up. `cover` is memory that they have already.
pub(super) async fn submit(
    context: &InputContext,
    route: &Route,
    lines: &mut LineBuffer,
    cover: &mut Reservation,
) {
    let memory = memory_for(context, lines, std::mem::take(cover)).await;
    let level = context.level.of(&route.stream.batching);
    let chunk = COMPRESSOR.with_borrow_mut(|compressor| lines.take(level, compressor, memory));
    if let Some(mut chunk) = chunk {
        chunk.shrink();
        let booking = route.book(&context.ledger, chunk.lines);
        booking.settle(context.spool.submit(chunk).await);
    }
}

/// Memory for lines once the spool has room for them: a full spool ties none up.
async fn memory_for(context: &InputContext, lines: &LineBuffer, mut memory: Reservation) -> Reservation {
    let (class, len) = (lines.stream().key.class, lines.len());
    while !(context.spool.has_room(class) && context.memory.grow_whole(&mut memory, len)) {
        drop(memory);
        if context.spool.room(class).await.is_err() {
            // The spool has ended: it refuses the chunk too, which counts the lines.
            return Reservation::default();
        }
        memory = context.memory.reserve_whole(len).await;
    }
    memory
}
