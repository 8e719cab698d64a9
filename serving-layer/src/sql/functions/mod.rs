//! Which functions a statement may call, and those that are Weir's own.
//!
//! Owns the list. It names what is allowed: what a later DataFusion adds stays out until somebody looked at it. Left out is
//! what makes much of little (`range`, arrays and structs that hold themselves twice), what takes time quadratic in a text
//! (`levenshtein`), and what tells of the server. What can only grow a text is bounded instead ([`bounded`]).

mod bounded;
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

/// Scalar functions as they are; their aliases are allowed as well.
const SCALAR: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "arrow_typeof",
    "ascii",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bit_length",
    "btrim",
    "cbrt",
    "ceil",
    "character_length",
    "chr",
    "coalesce",
    "contains",
    "cos",
    "cosh",
    "cot",
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "degrees",
    "ends_with",
    "exp",
    "factorial",
    "find_in_set",
    "floor",
    "from_unixtime",
    "gcd",
    "greatest",
    "initcap",
    "iszero",
    "isnan",
    "lcm",
    "least",
    "left",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "make_date",
    "make_time",
    "nanvl",
    "now",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "pi",
    "power",
    "radians",
    "random",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "reverse",
    "right",
    "round",
    "rtrim",
    "signum",
    "sin",
    "sinh",
    "split_part",
    "sqrt",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "tan",
    "tanh",
    "to_date",
    "to_hex",
    "to_local_time",
    "to_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    "translate",
    "trunc",
    "upper",
];

/// Scalar functions whose result is longer than their arguments; each is bounded.
const GROWING: &[&str] = &["concat", "concat_ws", "lpad", "regexp_replace", "repeat", "replace", "rpad", "to_char"];

/// Aggregate functions; their memory is accounted for.
const AGGREGATE: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// Window functions.
const WINDOW: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

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

/// Whether the result of an aggregate holds all its arguments.
pub(super) fn collects(name: &str) -> bool {
    matches!(name, "array_agg" | "string_agg" | "listagg" | "group_concat")
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
    use super::*;

    /// Functions that DataFusion knows and that stay out, looked at one by one.
    const REFUSED: &[&str] = &[
        "arrow_cast",
        "arrow_field",
        "arrow_try_cast",
        "cast_to_type",
        "try_cast_to_type",
        "arrow_metadata",
        "with_metadata",
        "overlay",
        "named_struct",
        "get_field",
        "union_extract",
        "union_tag",
        "version",
        "input_file_name",
        "struct",
        "file_row_index",
        "encode",
        "decode",
        "regexp_match",
        "levenshtein",
        "uuid",
        "array_compact",
        "array_to_string",
        "string_to_array",
        "range",
        "generate_series",
        "array_dims",
        "cardinality",
        "array_ndims",
        "array_append",
        "array_prepend",
        "array_concat",
        "array_except",
        "array_element",
        "array_pop_back",
        "array_pop_front",
        "array_slice",
        "array_any_value",
        "make_array",
        "array_has",
        "array_has_all",
        "array_has_any",
        "empty",
        "array_length",
        "array_normalize",
        "array_add",
        "array_avg",
        "array_product",
        "array_scale",
        "array_subtract",
        "array_sum",
        "cosine_distance",
        "inner_product",
        "array_distance",
        "flatten",
        "array_max",
        "array_min",
        "array_sort",
        "array_repeat",
        "array_resize",
        "array_reverse",
        "array_distinct",
        "array_intersect",
        "array_union",
        "arrays_zip",
        "array_position",
        "array_positions",
        "array_remove",
        "array_remove_all",
        "array_remove_n",
        "array_replace_n",
        "array_replace_all",
        "array_replace",
        "map",
        "map_entries",
        "map_extract",
        "map_keys",
        "map_values",
        "md5",
        "sha224",
        "sha256",
        "sha384",
        "sha512",
        "digest",
        "blake2b",
        "blake2s",
        "blake3",
    ];

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
