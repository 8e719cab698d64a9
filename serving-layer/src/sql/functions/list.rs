//! The names of functions that may be called, and of those that were looked at and stay out.

// One name a line would hide the list in its length.
#![cfg_attr(rustfmt, rustfmt_skip)]

/// Scalar functions as they are; their aliases are allowed as well.
pub(super) const SCALAR: &[&str] = &[
    "abs", "acos", "acosh", "arrow_typeof", "ascii", "asin", "asinh", "atan", "atan2", "atanh", "bit_length",
    "btrim", "cbrt", "ceil", "character_length", "chr", "coalesce", "contains", "cos", "cosh", "cot",
    "current_date", "current_time", "date_bin", "date_part", "date_trunc", "degrees", "ends_with", "exp",
    "factorial", "find_in_set", "floor", "from_unixtime", "gcd", "greatest", "initcap", "iszero", "isnan",
    "lcm", "least", "left", "ln", "log", "log10", "log2", "lower", "ltrim", "make_date", "make_time", "nanvl",
    "now", "nullif", "nvl", "nvl2", "octet_length", "pi", "power", "radians", "random", "regexp_count",
    "regexp_instr", "regexp_like", "reverse", "right", "round", "rtrim", "signum", "sin", "sinh", "split_part",
    "sqrt", "starts_with", "strpos", "substr", "substr_index", "tan", "tanh", "to_date", "to_hex",
    "to_local_time", "to_time", "to_timestamp", "to_timestamp_micros", "to_timestamp_millis",
    "to_timestamp_nanos", "to_timestamp_seconds", "to_unixtime", "translate", "trunc", "upper",
];

/// Scalar functions whose result is longer than their arguments; each is bounded.
pub(super) const GROWING: &[&str] = &[
    "concat", "concat_ws", "lpad", "regexp_replace", "repeat", "replace", "rpad", "to_char",
];

/// Aggregate functions; their memory is accounted for.
pub(super) const AGGREGATE: &[&str] = &[
    "any_value", "approx_distinct", "approx_median", "approx_percentile_cont",
    "approx_percentile_cont_with_weight", "array_agg", "avg", "bit_and", "bit_or", "bit_xor", "bool_and",
    "bool_or", "corr", "count", "covar_pop", "covar_samp", "first_value", "grouping", "last_value", "max",
    "median", "min", "nth_value", "percentile_cont", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept",
    "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "stddev", "stddev_pop", "string_agg", "sum",
    "var", "var_pop",
];

/// Window functions.
pub(super) const WINDOW: &[&str] = &[
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank",
    "rank", "row_number",
];

/// Functions that DataFusion knows and that stay out, looked at one by one.
#[cfg(test)]
pub(super) const REFUSED: &[&str] = &[
    "arrow_cast", "arrow_field", "arrow_try_cast", "cast_to_type", "try_cast_to_type", "arrow_metadata",
    "with_metadata", "overlay", "named_struct", "get_field", "union_extract", "union_tag", "version",
    "input_file_name", "struct", "file_row_index", "encode", "decode", "regexp_match", "levenshtein", "uuid",
    "array_compact", "array_to_string", "string_to_array", "range", "generate_series", "array_dims",
    "cardinality", "array_ndims", "array_append", "array_prepend", "array_concat", "array_except",
    "array_element", "array_pop_back", "array_pop_front", "array_slice", "array_any_value", "make_array",
    "array_has", "array_has_all", "array_has_any", "empty", "array_length", "array_normalize", "array_add",
    "array_avg", "array_product", "array_scale", "array_subtract", "array_sum", "cosine_distance",
    "inner_product", "array_distance", "flatten", "array_max", "array_min", "array_sort", "array_repeat",
    "array_resize", "array_reverse", "array_distinct", "array_intersect", "array_union", "arrays_zip",
    "array_position", "array_positions", "array_remove", "array_remove_all", "array_remove_n",
    "array_replace_n", "array_replace_all", "array_replace", "map", "map_entries", "map_extract", "map_keys",
    "map_values", "md5", "sha224", "sha256", "sha384", "sha512", "digest", "blake2b", "blake2s", "blake3",
];
