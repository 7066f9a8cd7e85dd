//! Misbehaviour on request.

use std::time::Duration;

use parking_lot::Mutex;

/// Which requests a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every request.
    All,
    /// Those of a tenant.
    Tenant(String),
    /// Those of a tenant's dataset.
    Dataset(String, String),
}

impl Scope {
    fn matches(&self, tenant: &str, dataset: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(t) => t == tenant,
            Self::Dataset(t, d) => t == tenant && d == dataset,
        }
    }
}

/// What happens instead of the usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The body is read, no answer comes until the fault is lifted.
    Hang,
    /// The usual answer, this much later.
    Slow(Duration),
    /// This status with headers and body; nothing is stored.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The connection is reset once this many bytes of the body were read.
    Reset(usize),
    /// Stored, but the connection is reset instead of the answer.
    Unanswered,
    /// This status with a body that never ends; 200 is stored.
    Endless(u16),
    /// 413 for a batch of more lines than this, which is the same for every upload of it.
    LinesAbove(u64),
    /// Usual treatment: exempts a scope from an older, wider fault.
    Nothing,
}

impl Fault {
    /// A bare status.
    pub fn status(code: u16) -> Self {
        Self::Status(code, Vec::new(), format!("scripted {code}\n"))
    }

    /// A status with `Retry-After`.
    pub fn retry_after(code: u16, seconds: u32) -> Self {
        Self::Status(code, vec![("retry-after", seconds.to_string())], format!("scripted {code}\n"))
    }

    /// A redirect.
    pub fn redirect(code: u16, to: &str) -> Self {
        Self::Status(code, vec![("location", to.to_owned())], String::new())
    }
}

#[derive(Debug)]
struct Rule {
    scope: Scope,
    fault: Fault,
    left: Option<u32>,
}

/// The rules in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    pub(super) fn add(&self, scope: Scope, fault: Fault, left: Option<u32>) {
        self.0.lock().push(Rule { scope, fault, left });
    }

    pub(super) fn lift(&self, scope: &Scope) {
        self.0.lock().retain(|rule| rule.scope != *scope);
    }

    /// The fault for a request; uses up one of a counted rule.
    pub(super) fn take(&self, tenant: &str, dataset: &str) -> Fault {
        let mut rules = self.0.lock();
        let Some(at) = rules.iter().rposition(|rule| rule.scope.matches(tenant, dataset)) else {
            return Fault::Nothing;
        };
        let Some(rule) = rules.get_mut(at) else { return Fault::Nothing };
        let fault = rule.fault.clone();
        if let Some(left) = &mut rule.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                rules.remove(at);
            }
        }
        fault
    }
}
