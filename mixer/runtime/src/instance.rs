//! Instances on their way to an adapter, here or in a process of its own.

use std::fmt;
use std::sync::Arc;

use mixer_attribute::{Bag, Track, Untracked};
use mixer_dynamic::{EncodeError, Encoder};
use mixer_template::{BuildError, Common, Instance, InstanceBuilder, Template, Variety};

/// What an instance is of.
#[derive(Clone, Debug)]
pub enum AnyTemplate {
    /// A template that is built in.
    BuiltIn(Template),
    /// One that is known by its descriptor; also one that is built in, for adapters of other processes.
    Remote(Arc<mixer_dynamic::Template>),
}

/// Makes the instances of one object.
#[derive(Clone, Debug)]
pub enum Maker {
    /// For adapters that are built in.
    BuiltIn(Arc<InstanceBuilder>),
    /// For adapters of other processes.
    Remote(Arc<Encoder>),
}

/// An instance.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "an allocation for each instance of a report would cost more"
)]
pub enum Made<'r> {
    /// For an adapter that is built in.
    BuiltIn(Instance<'r>),
    /// For one of another process: a field of what is sent.
    Encoded(Vec<u8>),
}

/// An instance cannot be made of a request's attributes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// For an adapter that is built in.
    #[error(transparent)]
    BuiltIn(#[from] BuildError),
    /// For one of another process.
    #[error(transparent)]
    Remote(#[from] EncodeError),
}

// === impl AnyTemplate ===

impl AnyTemplate {
    /// Its name; that of a template of an object is the full name of the object.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(template) => template.name(),
            Self::Remote(template) => template.name(),
        }
    }

    /// When it is used.
    #[must_use]
    pub fn variety(&self) -> Variety {
        match self {
            Self::BuiltIn(template) => template.variety(),
            Self::Remote(template) => template.variety(),
        }
    }
}

impl fmt::Display for AnyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Maker ===

impl Maker {
    /// The instance for a request.
    ///
    /// # Errors
    ///
    /// When one of its expressions has no value.
    pub fn make<'r>(&'r self, bag: &Bag<'r>, track: &mut impl Track) -> Result<Made<'r>, MakeError> {
        Ok(match self {
            Self::BuiltIn(builder) => Made::BuiltIn(builder.build(bag, track)?),
            Self::Remote(encoder) => Made::Encoded(encoder.encode(bag, track)?),
        })
    }

    /// The instance for a request that is reported. `common` is of the same bag.
    ///
    /// # Errors
    ///
    /// When one of its expressions has no value.
    pub fn make_reported<'r>(
        &'r self,
        bag: &Bag<'r>,
        common: &mut Common<'r>,
    ) -> Result<Made<'r>, MakeError> {
        Ok(match self {
            Self::BuiltIn(builder) => Made::BuiltIn(builder.build_reported(bag, common)?),
            Self::Remote(encoder) => Made::Encoded(encoder.encode(bag, &mut Untracked)?),
        })
    }
}
