//! The templates as source text.

const TEMPLATES: [(&str, &str); 3] = [
    ("head.conf", include_str!("../../templates/head.conf")),
    ("generated_endpoints.conf", include_str!("../../templates/generated_endpoints.conf")),
    ("generated_routing.conf", include_str!("../../templates/generated_routing.conf")),
];

#[test]
fn no_template_has_a_filter_since_one_could_write_a_value_unescaped() {
    for (name, source) in TEMPLATES {
        for expression in source.split("{{").skip(1) {
            let expression = expression.split("}}").next().unwrap_or_default();
            assert!(!expression.contains('|'), "{name}: {{{{{expression}}}}}");
        }
        assert!(!source.contains("{% filter") && !source.contains("{%- filter"), "{name}");
    }
}

#[test]
fn every_template_is_of_the_kind_that_our_escaper_serves() {
    let escapers = include_str!("../../askama.toml");
    assert!(escapers.contains("AsteriskConf") && escapers.contains(r#"extensions = ["conf"]"#), "{escapers}");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut known = TEMPLATES.map(|(name, _)| name);
    known.sort_unstable();
    assert_eq!(names, known, "a template that these tests do not read");
}
