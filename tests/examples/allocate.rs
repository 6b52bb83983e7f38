use crate::examples::run;

#[test]
fn a_spreadsheet_is_completed_with_the_lowest_free_numbers() {
    let sheet = "name,extension\nAlice,1001\n\"Example, Bob\",\nCarol,\nDan,1003\nEve,\n";
    let completed = "name,extension\nAlice,1001\n\"Example, Bob\",1000\nCarol,1002\nDan,1003\nEve,1004\n";
    assert_eq!(run("allocate", &[], &[], sheet).as_deref(), Ok(completed));
    assert_eq!(run("allocate", &[], &[], completed).as_deref(), Ok(completed));
}

#[test]
fn a_spreadsheet_that_contradicts_itself_is_refused() {
    for (rows, reason) in [
        ("Alice,1000\nBob,1000\n", "1000 is there twice"),
        ("Alice,12\n", "the extension of Alice must be a number from 1000 to 1999"),
        ("Alice\n", "\\\"Alice\\\" has one column"),
    ] {
        let said = run("allocate", &[], &[], &format!("name,extension\n{rows}")).unwrap_err();
        assert!(said.contains(reason), "{said}");
    }
}
