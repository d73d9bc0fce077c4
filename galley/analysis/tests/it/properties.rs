//! What holds for all objects.

use galley_analysis::{KINDS, Known, MAX_WARNING_BYTES, MAX_WARNINGS};
use mesh_testing::objects::{Choices, admitted_mesh};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing panics, warnings are few and short, equal knowledge says the same in whatever order it came, and what is
    /// taken away leaves nothing.
    #[test]
    fn pain_11_warnings_are_few_and_depend_on_what_is_known_alone(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mesh = admitted_mesh(&mut Choices::of_bytes(&bytes));
        let mut forwards = Known::new("cluster.local");
        let mut backwards = Known::new("cluster.local");
        for (one, other) in mesh.iter().zip(mesh.iter().rev()) {
            forwards.apply(one);
            backwards.apply(other);
        }
        for &kind in KINDS {
            forwards.synced(kind);
            backwards.synced(kind);
        }
        for object in &mesh {
            let said = forwards.warnings(object);
            prop_assert_eq!(&said, &backwards.warnings(object));
            prop_assert!(said.len() <= MAX_WARNINGS);
            prop_assert!(said.iter().all(|line| line.len() <= MAX_WARNING_BYTES));
            // Told again, it is the same.
            forwards.apply(object);
            prop_assert_eq!(&said, &forwards.warnings(object));
        }
        for object in &mesh {
            forwards.remove(&object.meta.key);
        }
        prop_assert!(forwards.is_empty());
        // Nothing that there is would be missed by anybody who does not know it all.
        let ignorant = Known::new("cluster.local");
        for object in &mesh {
            let said = ignorant.warnings(object);
            prop_assert!(said.iter().all(|line| !line.contains("there is no ") && !line.contains("no Service")), "{:?}", said);
        }
    }
}
