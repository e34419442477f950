//! Programs that must not compile: everything one could try to get a `Permitted` without asking the policy.

#[test]
fn nobody_makes_a_permit_but_the_policy() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/control/*.rs");
}
