//! The attributes that a configuration knows (`spec 02` §3.3).

use std::collections::HashMap;

use crate::value::ValueType;

/// An attribute of one [`Vocabulary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeId(u16);

/// All attributes that may be used in expressions, with their types: those of all manifests together.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    attributes: Vec<(Box<str>, ValueType)>,
    by_name: HashMap<Box<str>, AttributeId>,
    /// Bytes of the longest name, beyond which nothing has to be looked up.
    longest: usize,
}

/// An attribute cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another manifest says something else.
    #[error("attribute {name} is of type {before}, and cannot be of type {now}, too")]
    Type {
        /// The attribute.
        name: String,
        /// Its type.
        before: ValueType,
        /// What it was to be.
        now: ValueType,
    },
    /// Another attribute has the name.
    #[error("attribute {name} is there already")]
    Name {
        /// The name.
        name: String,
    },
    /// There are 65,535 attributes.
    #[error("attribute {name} is one too many")]
    Full {
        /// The attribute.
        name: String,
    },
}

impl AttributeId {
    /// Its place in the vocabulary, counted from 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Vocabulary {
    /// Adds an attribute, or finds it.
    ///
    /// # Errors
    ///
    /// If it is there with another type, or if there are too many.
    pub fn add(&mut self, name: &str, value_type: ValueType) -> Result<AttributeId, Conflict> {
        if let Some(id) = self.id(name) {
            let before = self.value_type(id);
            return if before == value_type {
                Ok(id)
            } else {
                Err(Conflict::Type {
                    name: name.to_owned(),
                    before,
                    now: value_type,
                })
            };
        }
        let id = u16::try_from(self.attributes.len()).map(AttributeId);
        let id = id.map_err(|_| Conflict::Full {
            name: name.to_owned(),
        })?;
        self.attributes.push((name.into(), value_type));
        self.by_name.insert(name.into(), id);
        self.longest = self.longest.max(name.len());
        Ok(id)
    }

    /// Gives an attribute one more name, by which expressions find it.
    ///
    /// # Errors
    ///
    /// If another attribute is called so.
    pub fn alias(&mut self, name: &str, id: AttributeId) -> Result<(), Conflict> {
        match self.by_name.insert(name.into(), id) {
            Some(before) if before != id => {
                self.by_name.insert(name.into(), before);
                Err(Conflict::Name {
                    name: name.to_owned(),
                })
            }
            _ => {
                self.longest = self.longest.max(name.len());
                Ok(())
            }
        }
    }

    /// The attribute called `name`.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<AttributeId> {
        if name.len() > self.longest {
            return None;
        }
        self.by_name.get(name).copied()
    }

    /// Type of an attribute of this vocabulary.
    #[must_use]
    pub fn value_type(&self, id: AttributeId) -> ValueType {
        self.attributes[id.index()].1
    }

    /// Name of an attribute of this vocabulary.
    #[must_use]
    pub fn name(&self, id: AttributeId) -> &str {
        &self.attributes[id.index()].0
    }

    /// All attributes.
    pub fn ids(&self) -> impl Iterator<Item = AttributeId> {
        // No more than that fit in.
        (0..=u16::MAX).take(self.attributes.len()).map(AttributeId)
    }

    /// How many attributes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there is no attribute.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `spec 02` §3.3: two manifests that disagree are an error, two that agree are not.
    #[test]
    fn an_attribute_has_one_type() {
        let mut vocabulary = Vocabulary::default();
        let id = vocabulary.add("source.uid", ValueType::String).unwrap();
        assert_eq!(vocabulary.add("source.uid", ValueType::String), Ok(id));
        let error = vocabulary.add("source.uid", ValueType::Int64).unwrap_err();
        assert_eq!(
            error.to_string(),
            "attribute source.uid is of type STRING, and cannot be of type INT64, too"
        );
        assert_eq!((vocabulary.len(), vocabulary.name(id)), (1, "source.uid"));
    }
}
