//! What is wrong with instances of one call.

use mixer_adapter::Answer;

/// Most faults of one call that are told one by one.
const TOLD: usize = 5;

/// Faults of one call, which may have as many as it has instances.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    count: usize,
    first: Vec<String>,
}

// === impl Faults ===

impl Faults {
    /// Adds what is wrong with an instance.
    pub(crate) fn push(&mut self, instance: &str, reason: &str) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(format!("{instance}: {reason}"));
        }
    }

    /// The answer to the call.
    pub(crate) fn answer(self) -> Answer<()> {
        let told = self.first.join("; ");
        match self.count - self.first.len() {
            0 if self.count == 0 => Answer::done(),
            0 => Answer::failed(told),
            more => Answer::failed(format!("{told} (and {more} more)")),
        }
    }
}
