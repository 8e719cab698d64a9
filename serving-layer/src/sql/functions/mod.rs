//! Which functions a statement may call, and those that are Weir's own.
//!
//! Owns the list. It names what is allowed: what a later DataFusion adds stays out until somebody looked at it. Left out is
//! what makes much of little (`range`, arrays and structs that hold themselves twice), what takes time quadratic in a text
//! (`levenshtein`), and what tells of the server. What can only grow a text is bounded instead ([`bounded`]).

mod bounded;
mod list;
mod tag;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion::functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion::functions_aggregate::planner::AggregateFunctionPlanner;
use datafusion::functions_window::planner::WindowFunctionPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

use self::list::{AGGREGATE, GROWING, SCALAR, WINDOW};

/// All functions that a statement may call.
#[derive(Debug)]
struct Allowed {
    scalar: Vec<Arc<ScalarUDF>>,
    aggregate: Vec<Arc<AggregateUDF>>,
    window: Vec<Arc<WindowUDF>>,
    names: BTreeSet<String>,
}

static ALLOWED: LazyLock<Allowed> = LazyLock::new(|| {
    let (mut scalar, mut aggregate, mut window) = (
        SessionStateDefaults::default_scalar_functions(),
        SessionStateDefaults::default_aggregate_functions(),
        SessionStateDefaults::default_window_functions(),
    );
    scalar.retain(|f| SCALAR.contains(&f.name()) || GROWING.contains(&f.name()));
    let scalar: Vec<Arc<ScalarUDF>> = scalar
        .into_iter()
        .map(|f| if GROWING.contains(&f.name()) { bounded::bounded(f) } else { f })
        .chain([Arc::new(tag::udf())])
        .collect();
    aggregate.retain(|f| AGGREGATE.contains(&f.name()));
    window.retain(|f| WINDOW.contains(&f.name()));
    let named = |name: &str, aliases: &[String]| {
        [name.to_owned()].into_iter().chain(aliases.iter().cloned()).collect::<Vec<_>>()
    };
    let names = scalar
        .iter()
        .flat_map(|f| named(f.name(), f.aliases()))
        .chain(aggregate.iter().flat_map(|f| named(f.name(), f.aliases())))
        .chain(window.iter().flat_map(|f| named(f.name(), f.aliases())))
        .collect();
    Allowed { scalar, aggregate, window, names }
});

/// Gives a session these functions and no others.
pub(super) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
        .with_scalar_functions(ALLOWED.scalar.clone())
        .with_aggregate_functions(ALLOWED.aggregate.clone())
        .with_window_functions(ALLOWED.window.clone())
        .with_expr_planners(vec![
            Arc::new(bounded::ConcatPlanner),
            Arc::new(DatetimeFunctionPlanner),
            Arc::new(UnicodeFunctionPlanner),
            Arc::new(AggregateFunctionPlanner),
            Arc::new(WindowFunctionPlanner),
        ])
}

/// Whether a statement may call the function of this name, in lower case.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.names.contains(name)
}

/// Whether an aggregate looks at all its arguments, or at some thousand registers, each time that it is evaluated.
pub(super) fn collects(name: &str) -> bool {
    matches!(
        name,
        "array_agg"
            | "string_agg"
            | "listagg"
            | "group_concat"
            | "median"
            | "percentile_cont"
            | "quantile_cont"
            | "approx_distinct"
    )
}

/// Which argument of a function is a regular expression.
pub(super) fn pattern_argument(name: &str) -> Option<usize> {
    name.starts_with("regexp_").then_some(1)
}

/// What may have been meant by an unknown name, to be put behind an error.
pub(super) fn suggest(name: &str) -> String {
    let close = |known: &&String| known.len() > 2 && (known.starts_with(name) || name.starts_with(known.as_str()));
    match ALLOWED.names.iter().find(close) {
        Some(known) if !name.is_empty() => format!("; did you mean {known:?}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::list::REFUSED;
    use super::*;

    #[test]
    fn every_function_is_allowed_or_refused_on_purpose() {
        let known = |names: Vec<String>, lists: &[&[&str]]| {
            let listed = |name: &String| lists.iter().any(|list| list.contains(&name.as_str()));
            names.into_iter().filter(|name| !listed(name)).collect::<Vec<_>>()
        };
        let scalar = SessionStateDefaults::default_scalar_functions().iter().map(|f| f.name().to_owned()).collect();
        let aggregate =
            SessionStateDefaults::default_aggregate_functions().iter().map(|f| f.name().to_owned()).collect();
        let window = SessionStateDefaults::default_window_functions().iter().map(|f| f.name().to_owned()).collect();
        assert_eq!(known(scalar, &[SCALAR, GROWING, REFUSED]), Vec::<String>::new());
        assert_eq!(known(aggregate, &[AGGREGATE, REFUSED]), Vec::<String>::new());
        assert_eq!(known(window, &[WINDOW, REFUSED]), Vec::<String>::new());
    }

    #[test]
    fn every_listed_function_exists() {
        for name in SCALAR.iter().chain(GROWING).chain(AGGREGATE).chain(WINDOW) {
            assert!(is_allowed(name), "{name}");
        }
    }
}
