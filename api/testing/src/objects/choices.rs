//! Where decisions come from.

/// A source of decisions.
#[derive(Clone, Debug)]
pub struct Choices<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    /// The state of a generator of numbers.
    Seed(u64),
    /// What is left of the bytes.
    Bytes(&'a [u8]),
}

// === impl Choices ===

impl<'a> Choices<'a> {
    /// As many choices as anybody wants, the same for equal seeds.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seed(seed))
    }

    /// Choices by bytes; when none is left, always the last and the least.
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        Self(Source::Bytes(bytes))
    }

    /// A number below `limit`; 0 when that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let Some(last) = limit.checked_sub(1) else {
            return 0;
        };
        match self.number() {
            Some(number) => number as usize % limit,
            None => last,
        }
    }

    /// Whether something happens that happens so many times out of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent.min(99)
    }

    /// One of a list.
    ///
    /// # Panics
    ///
    /// When the list is empty.
    pub fn one_of<'b, T>(&mut self, list: &'b [T]) -> &'b T {
        &list[self.below(list.len())]
    }

    fn number(&mut self) -> Option<u32> {
        match &mut self.0 {
            // SplitMix64.
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                Some((mixed >> 33) as u32)
            }
            Source::Bytes(bytes) => {
                let (first, rest) = bytes.split_first()?;
                *bytes = rest;
                Some(u32::from(*first))
            }
        }
    }
}
