//! Where every event is. One identity holds at any time and over restarts:
//!
//! ```text
//! accepted + imported = memory + open + queued + retry + dlq + delivered + evicted + deleted + quarantined
//! ```
//! `accepted` and `imported` (found in the spool at start, or adopted from an old spool) are sources; every other
//! place is filled only by taking the same number out of a source or another place, under one lock. So the
//! identity cannot be broken by an order of updates, only by a count that was wrong, which shows as `underflow`.

use parking_lot::Mutex;
use serde::Serialize;

/// A place an event can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Accepted from a socket, not yet in the log.
    Memory,
    /// In the log, its batch not yet closed.
    Open,
    /// In a closed batch that was never tried.
    Queued,
    /// In a batch that failed at least once.
    Retry,
    /// In the dead-letter queue.
    Dlq,
    /// The Receiver has it.
    Delivered,
    /// Removed from the DLQ by a limit.
    Evicted,
    /// Removed by a person through the API.
    Deleted,
    /// Unreadable, set aside.
    Quarantined,
}

/// Events per place at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Taken from sockets since start.
    pub accepted: u64,
    /// Found in the spool at start or adopted from an old one.
    pub imported: u64,
    /// [`Place::Memory`].
    pub memory: u64,
    /// [`Place::Open`].
    pub open: u64,
    /// [`Place::Queued`].
    pub queued: u64,
    /// [`Place::Retry`].
    pub retry: u64,
    /// [`Place::Dlq`].
    pub dlq: u64,
    /// [`Place::Delivered`].
    pub delivered: u64,
    /// [`Place::Evicted`].
    pub evicted: u64,
    /// [`Place::Deleted`].
    pub deleted: u64,
    /// [`Place::Quarantined`].
    pub quarantined: u64,
    /// Moves out of a place that held fewer: a defect when not 0.
    pub underflow: u64,
}

impl Events {
    /// Sum of all places; equals `accepted + imported` unless a count was wrong.
    pub fn placed(&self) -> u64 {
        self.memory
            + self.open
            + self.queued
            + self.retry
            + self.dlq
            + self.delivered
            + self.evicted
            + self.deleted
            + self.quarantined
    }

    /// Those that nobody has yet and nobody gave up.
    pub fn undelivered(&self) -> u64 {
        self.memory + self.open + self.queued + self.retry + self.dlq
    }

    /// Whether the identity holds.
    pub fn balanced(&self) -> bool {
        self.underflow == 0 && self.accepted + self.imported == self.placed()
    }

    fn place(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Memory => &mut self.memory,
            Place::Open => &mut self.open,
            Place::Queued => &mut self.queued,
            Place::Retry => &mut self.retry,
            Place::Dlq => &mut self.dlq,
            Place::Delivered => &mut self.delivered,
            Place::Evicted => &mut self.evicted,
            Place::Deleted => &mut self.deleted,
            Place::Quarantined => &mut self.quarantined,
        }
    }
}

/// The shared book. Called once per chunk or batch, never per event.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Events>);

impl Ledger {
    /// `events` came from a socket and are in memory now.
    pub fn accept(&self, events: u64) {
        let mut book = self.0.lock();
        book.accepted += events;
        book.memory += events;
    }

    /// `events` were found on disk in `place`.
    pub fn import(&self, place: Place, events: u64) {
        let mut book = self.0.lock();
        book.imported += events;
        *book.place(place) += events;
    }

    /// `events` were in memory and the spool refused them: they count as never accepted (the input counts the
    /// refusal by cause).
    pub fn unaccept(&self, events: u64) {
        let mut book = self.0.lock();
        book.accepted = book.accepted.saturating_sub(events);
        Self::take(&mut book, Place::Memory, events);
    }

    /// `events` in `place` cannot be kept: they count as never taken.
    pub fn give_up(&self, place: Place, events: u64) {
        let mut book = self.0.lock();
        let imported = events.saturating_sub(book.accepted);
        book.accepted = book.accepted.saturating_sub(events);
        book.imported = book.imported.saturating_sub(imported);
        Self::take(&mut book, place, events);
    }

    /// `events` move.
    pub fn transfer(&self, from: Place, to: Place, events: u64) {
        let mut book = self.0.lock();
        Self::take(&mut book, from, events);
        *book.place(to) += events;
    }

    /// The book now.
    pub fn snapshot(&self) -> Events {
        *self.0.lock()
    }

    fn take(book: &mut Events, from: Place, events: u64) {
        let held = book.place(from);
        if let Some(rest) = held.checked_sub(events) {
            *held = rest;
        } else {
            *held = 0;
            book.underflow += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_holds_after_every_move_and_an_impossible_move_is_seen() {
        let ledger = Ledger::default();
        ledger.accept(10);
        ledger.import(Place::Dlq, 5);
        ledger.transfer(Place::Memory, Place::Open, 8);
        ledger.unaccept(2);
        ledger.transfer(Place::Open, Place::Queued, 8);
        ledger.transfer(Place::Queued, Place::Delivered, 8);
        ledger.transfer(Place::Dlq, Place::Evicted, 5);
        let events = ledger.snapshot();
        assert!(events.balanced(), "{events:?}");
        assert_eq!((events.accepted, events.imported, events.delivered, events.evicted), (8, 5, 8, 5));
        ledger.import(Place::Open, 2);
        ledger.accept(1);
        ledger.transfer(Place::Memory, Place::Open, 1);
        ledger.give_up(Place::Open, 3);
        assert!(ledger.snapshot().balanced(), "{:?}", ledger.snapshot());
        ledger.transfer(Place::Retry, Place::Dlq, 1);
        assert!(!ledger.snapshot().balanced());
    }
}
