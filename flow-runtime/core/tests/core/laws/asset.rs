//! Laws of conditions over assets.

use flow_core::AssetExpr;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn expr() -> impl Strategy<Value = AssetExpr> {
    let leaf = prop::sample::select(vec!["a", "b", "c", "d/e.csv"]).prop_map(|name| AssetExpr::Asset(name.into()));
    leaf.prop_recursive(4, 24, 4, |inner| {
        (inner.clone(), inner, any::<bool>()).prop_map(|(a, b, both)| if both { a.and(b) } else { a.or(b) })
    })
}

proptest! {
    #![proptest_config(super::cases(256))]

    #[test]
    fn a_condition_is_its_text(expr in expr()) {
        prop_assert_eq!(AssetExpr::parse(&expr.to_string()), Ok(expr));
    }

    #[test]
    fn it_holds_once_what_is_missing_has_come_too(expr in expr(), came in prop::sample::subsequence(vec!["a", "b", "c"], 0..=3)) {
        let came: BTreeSet<&str> = came.into_iter().collect();
        let has = |name: &str| came.contains(name);
        let missing = expr.missing(&has);
        prop_assert_eq!(missing.is_none(), expr.holds(&has));
        let Some(missing) = missing else { return Ok(()) };
        prop_assert!(missing.names().is_disjoint(&came), "{} misses {}", expr, missing);
        // What is missing decides: whatever comes, both hold or neither.
        for more in ["a", "b", "c", "d/e.csv"] {
            let then = |name: &str| has(name) || name == more;
            prop_assert_eq!(expr.holds(&then), missing.holds(&then), "{} after {}", expr, more);
        }
    }
}
