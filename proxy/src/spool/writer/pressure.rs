//! When batch files, or the thread that shortens the log, cannot keep up with it.
//!
//! For a moment the writer takes nothing, and the memory budget slows the inputs. When the disk is the reason (a file
//! that cannot be written or synced) that may last, and nobody is kept waiting: intake is refused until it is over.

use super::Writer;

impl Writer {
    /// Whether nothing is to be taken now.
    pub(super) fn holds_back(&mut self) -> bool {
        let behind = self.is_behind();
        let stuck = if behind { self.disk_trouble() } else { None };
        if stuck.is_some() != self.stuck.is_some() {
            if let Some(why) = &stuck {
                tracing::warn!(why, "nothing is acknowledged until batch files can be written and synced");
            } else {
                tracing::info!("batch files can be written and synced again");
            }
            self.stuck = stuck;
            if !self.log.broken() {
                self.shared.set_unwritable(self.stuck.clone());
            }
        }
        behind && self.stuck.is_none()
    }

    fn is_behind(&self) -> bool {
        let tails = self.shared.tails.get() > 2 * self.shared.tail_budget;
        let log = self.checkpointer.shortens() && self.log.bytes() > 2 * self.shared.limits.log().0;
        (tails || log) && !self.shared.abandoned.is_set()
    }

    fn disk_trouble(&self) -> Option<String> {
        let background =
            self.background_failure.as_ref().map(|why| format!("the log cannot be shortened: {why}"));
        let file = || {
            Some(format!("a batch file cannot be written: {}", self.shared.files_unwritable.lock().as_ref()?))
        };
        background.or_else(file)
    }
}
