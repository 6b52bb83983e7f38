//! The administrator's own configuration, or a file's mode, in the way of ours.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use pbx_tests::{Asterisk, Behaviour, Database};

use crate::faults::matrix::{self, Row};
use crate::faults::world::World;

const RELOAD: &str = "module reload*";
/// The user and the group `nobody`, on every Linux.
const NOBODY: u32 = 65_534;

/// The line of one of the administrator's files that holds `text`, from 1.
fn line_of(world: &World, file: &str, text: &str) -> usize {
    let lines = fs::read_to_string(world.asterisk.etc().join(file)).unwrap();
    lines.lines().position(|line| line == text).unwrap() + 1
}

fn without_include(row: Row, file: &str, line: &str) {
    let world = World::new();
    let whole = fs::read_to_string(world.asterisk.etc().join(file)).unwrap();
    world.asterisk.remove_include(file);
    let detail = world.apply(row).string("/detail");
    assert!(detail.contains(&world.asterisk.etc().join(file).display().to_string()), "{detail}");
    assert!(detail.contains(line), "{detail}");
    fs::write(world.asterisk.etc().join(file), whole).unwrap();
    world.recovers();
}

#[test]
fn a_missing_include_in_pjsip_conf_is_named() {
    without_include(
        matrix::NO_PJSIP_INCLUDE,
        "pjsip.conf",
        "#include pjsip.d/synergycall/generated_endpoints.conf\\n' >> ",
    );
}

#[test]
fn a_missing_include_in_extensions_conf_is_named() {
    without_include(
        matrix::NO_DIALPLAN_INCLUDE,
        "extensions.conf",
        "#include extensions.d/synergycall/generated_routing.conf\\n' >> ",
    );
}

/// Asterisk reads a file that is included by its name only if its time or its size is another. The new file and the former
/// one are written within a few milliseconds.
#[test]
fn a_rollback_is_read_though_the_files_have_one_size() {
    let world = World::new();
    let http = world.portal.http();
    http.post_empty("/apply").expect(200);
    let pjsip = world.asterisk.etc().join("pjsip.conf");
    let whole = fs::read_to_string(&pjsip).unwrap();
    for round in 0..10 {
        world.database.sql(&format!("UPDATE users SET name = 'Round {round}' WHERE email LIKE 'newcomer@%'"));
        world.asterisk.append("pjsip.conf", "[1001]\ntype=endpoint\nallow=ulaw");
        let answer = http.post_empty("/apply").expect(502);
        assert_eq!(answer.string("/apply/outcome"), "rolled_back", "in round {round}: {answer:?}");
        fs::write(&pjsip, &whole).unwrap();
        assert_eq!(http.post_empty("/apply").expect(200).string("/outcome"), "applied");
    }
}

/// The administrator adds `lines` to `file`, and takes them out again after the apply, whose detail says what `said` makes of
/// the file's path and the number of the first of the lines.
fn conflict(row: Row, file: &str, lines: &str, said: impl Fn(&str, usize) -> String) {
    let world = World::new();
    let path = world.asterisk.etc().join(file);
    let whole = fs::read_to_string(&path).unwrap();
    world.asterisk.append(file, lines);
    let said = said(path.to_str().unwrap(), line_of(&world, file, lines.lines().next().unwrap()));
    let answer = world.portal.http().post_empty("/apply");
    let detail = answer.string("/detail");
    assert!(detail.contains(&said), "{said} in {detail}");
    assert!(!detail.contains("unable to read"), "{detail}");
    // What the administrator added is live, and is the administrator's: it goes before the rest is compared.
    fs::write(path, whole).unwrap();
    world.asterisk.rx("module reload res_pjsip.so pbx_config.so");
    world.check(row, &answer);
    world.recovers();
}

#[test]
fn an_endpoint_that_the_administrator_defines_too_is_named_with_its_place() {
    let lines = "[1001]\ntype=endpoint\ncontext=mine\ndisallow=all\nallow=ulaw";
    conflict(matrix::SAME_ENDPOINT, "pjsip.conf", lines, |path, line| {
        format!("defines the endpoint 1001 ({path}, line {line}) too: remove it there.")
    });
}

#[test]
fn an_aor_that_the_administrator_defines_too_is_named_with_its_place() {
    conflict(matrix::SAME_AOR, "pjsip.conf", "[1001]\ntype=aor\nmax_contacts=1", |path, line| {
        format!("defines the aor 1001 ({path}, line {line}) too: remove it there.")
    });
}

#[test]
fn what_keeps_asterisk_from_all_of_a_file_is_named_with_its_fix() {
    let world = World::new();
    let trunk = "[trunk]\ntype=endpoint\nallow=ulaw\n";
    for (file, lines, at, said, fix) in [
        ("pjsip.conf", trunk.repeat(2).as_str(), 3, "the endpoint trunk (", "too: remove it there."),
        ("pjsip.conf", "[trunk](nobody)\ntype=aor\n", 0, "names the template", "(sed -i 'LINE,NEXTs/^/; /' PATH)"),
        (
            "extensions.conf",
            "#include nowhere.conf\n",
            0,
            "no regular file",
            "(sed -i 'LINEs/#include/#tryinclude/I' PATH)",
        ),
        (
            "pjsip.conf",
            "[1009](+)\nallow=ulaw\n",
            0,
            "adds to a section [1009] that",
            "(sed -i 'LINE,NEXTs/^/; /' PATH)",
        ),
    ] {
        let path = world.asterisk.etc().join(file);
        let whole = fs::read_to_string(&path).unwrap();
        let at = whole.lines().count() + 1 + at;
        fs::write(&path, whole.clone() + lines).unwrap();
        let answer = world.portal.http().post_empty("/apply").expect(502);
        let detail = answer.string("/detail");
        assert_eq!(answer.string("/apply/outcome"), "rolled_back", "{detail}");
        let place = format!("{}, line {at}", path.display());
        assert!(detail.contains(said) && detail.matches(&place).count() == 1, "{place}: {detail}");
        let fix = fix.replace("LINE", &at.to_string()).replace("NEXT", &(at + 1).to_string());
        let fix = fix.replace("PATH", path.to_str().unwrap());
        assert!(detail.contains(&fix), "{fix} in {detail}");
        fs::write(&path, whole).unwrap();
        world.asterisk.rx("module reload res_pjsip.so pbx_config.so");
    }
    world.recovers();
}

#[test]
fn an_addition_to_a_user_who_goes_is_named() {
    let world = World::new();
    let user = world.portal.create_user("one more", "more@example.com");
    world.portal.http().post_empty("/apply").expect(200);
    world.asterisk.append("pjsip.conf", &format!("[{}](+)\nallow=g722", user.json["extension"]));
    world.portal.http().delete(&format!("/users/{}", user.string("/id"))).expect(204);
    let detail = world.portal.http().post_empty("/apply").expect(502).string("/detail");
    assert!(detail.contains("that no line before it begins (sed -i "), "{detail}");
}

#[test]
fn a_context_that_the_administrator_adds_to_is_named_with_its_place() {
    let lines = "[synergycall-users]\nexten => 1001,1,Hangup()\nexten => 1001,2,Answer()";
    // Asterisk takes the step that we have not.
    conflict(matrix::SAME_CONTEXT, "extensions.conf", lines, |_, line| {
        format!("extension 1001@synergycall-users is also defined in extensions.conf:{}.", line + 2)
    });
}

#[test]
fn a_users_number_that_the_administrator_answers_in_another_way_is_named() {
    for (exten, context) in
        [("1001", "synergycall-internal"), ("1001", "synergycall-ring"), ("1001/1000", "synergycall-users")]
    {
        let lines = format!("[{context}]\nexten => {exten},1,Hangup(17)");
        conflict(matrix::SAME_CONTEXT, "extensions.conf", &lines, |_, _| {
            format!("extension {exten}@{context} in extensions.conf takes calls to one of ours.")
        });
    }
}

#[test]
fn what_the_administrator_adds_to_ours_is_a_warning() {
    let world = World::new();
    world.asterisk.append("pjsip.conf", "[1000](+)\ncontext=from-outside");
    world.asterisk.append(
        "extensions.conf",
        "[synergycall-ring]\nexten => _2XXX,1,Hangup()\n[synergycall-internal]\ninclude => theirs",
    );
    let answer = world.apply(matrix::ADDED_TO);
    let warnings: Vec<_> = answer.json["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    let place = format!(
        "[1000] ({}, line {})",
        world.asterisk.etc().join("pjsip.conf").display(),
        line_of(&world, "pjsip.conf", "[1000](+)")
    );
    assert!(warnings.len() == 2 && warnings[0].contains("_2XXX to synergycall-ring"), "{warnings:?}");
    assert!(warnings[1].contains(&place), "{warnings:?}");
    let unchanged = world.portal.http().post_empty("/apply").expect(200);
    assert_eq!(
        (unchanged.json["outcome"].as_str(), &unchanged.json["warnings"]),
        (Some("unchanged"), &answer.json["warnings"])
    );
}

#[test]
fn a_template_of_the_administrators_takes_the_place_of_none_of_ours() {
    let world = World::new();
    let path = world.asterisk.etc().join("pjsip.conf");
    let whole = fs::read_to_string(&path).unwrap();
    // Asterisk takes the first of two templates with one name.
    fs::write(&path, format!("[synergycall-endpoint](!)\ntype=endpoint\ncontext=theirs\n{whole}")).unwrap();
    world.portal.http().post_empty("/apply").expect(200);
    let shown = world.asterisk.rx("pjsip show endpoint 1000");
    let mut settings = shown.lines().filter_map(|line| line.split_once(':'));
    let context = settings.find(|(key, _)| key.trim() == "context").map(|(_, value)| value.trim().to_owned());
    assert_eq!(context.as_deref(), Some("synergycall-internal"), "{shown}");
}

#[test]
fn an_object_that_asterisk_keeps_from_before_is_found_out() {
    let world = World::new();
    // The bystander's number goes to somebody else, and Asterisk does not take the new endpoint.
    let id = world.portal.http().get("/users").expect(200).string("/users/0/id");
    world.portal.http().delete(&format!("/users/{id}")).expect(204);
    crate::faults::world::create(&world.portal, "successor");
    let spoil = format!(
        "sed -i 's/^\\[1000\\](synergycall-endpoint-.*)$/&\\nno_such_option=1/' {}",
        world.asterisk.pjsip_include().display()
    );
    world.stand_in.on_next(1, RELOAD, &Behaviour::Before(spoil));
    let answer = world.apply(matrix::BAD_OBJECT);
    assert!(answer.string("/detail").contains("endpoint 1000"), "{}", answer.text);
    world.stand_in.behave();
    world.portal.http().post_empty("/apply").expect(200);
    world.check_new_is_live();
    assert_eq!(world.bystander.register(), 401, "the number has another owner now");
}

#[test]
fn auths_that_asterisk_refuses_are_found_out_by_one_that_does_not_go() {
    let world = World::new();
    world.recovers();
    let list = world.portal.http().get("/users").expect(200);
    let (main, trunk) = (world.asterisk.etc().join("pjsip.conf"), "[trunk-auth]\ntype=auth\nusername=a\npassword=b\n");
    let whole = fs::read_to_string(&main).unwrap();
    fs::write(&main, format!("{whole}{trunk}{trunk}")).unwrap();
    world.portal.http().delete(&format!("/users/{}", list.string("/users/1/id"))).expect(204);
    let answer = world.portal.http().post_empty("/apply").expect(502);
    assert_eq!(answer.json["apply"]["outcome"], "rolled_back", "{}", answer.text);
    let detail = answer.string("/detail");
    assert!(detail.contains("still live: auth 1001-") && detail.contains("the auth trunk-auth ("), "{detail}");
    fs::write(&main, whole).unwrap();
    assert_eq!(
        world.portal.http().post_empty("/apply").expect(200).json["changes"]["removed"],
        serde_json::json!([1001])
    );
    assert!(!world.asterisk.rx("pjsip list auths").contains(" 1001-"));
}

/// What Asterisk had before is what the files say, and it reads them no more.
#[test]
fn files_that_asterisk_cannot_read_again_are_not_applied_although_it_runs_what_they_say() {
    let world = World::new();
    world.recovers();
    let file = world.asterisk.pjsip_include();
    let spoiled = [
        ("pjsip.conf", "#include nowhere.conf\n", "line"),
        ("pjsip.conf", "[1000]\ntype=endpoint\n", "the endpoint 1000 ("),
    ];
    for (main, line, fix) in spoiled {
        let main = world.asterisk.etc().join(main);
        let whole = fs::read_to_string(&main).unwrap();
        fs::write(&main, format!("{whole}\n{line}")).unwrap();
        // As after a backup of both files was restored.
        fs::write(&file, "; older\n").unwrap();
        fs::write(world.asterisk.dialplan_include(), "; older\n").unwrap();
        for _ in 0..2 {
            let answer = world.portal.http().post_empty("/apply").expect(502);
            assert_eq!(answer.json["apply"]["outcome"], "rollback_failed", "{}", answer.text);
            let detail = answer.string("/detail");
            assert!(detail.contains("keeps it from reading") && detail.contains(fix), "{detail}");
            assert_eq!(world.portal.http().get("/users").expect(200).json["apply_required"], true);
        }
        fs::write(&main, whole).unwrap();
        assert_eq!(world.recovers().json["outcome"], "applied");
        assert_eq!(world.recovers().json["outcome"], "unchanged");
    }
}

#[test]
fn a_file_that_asterisk_reads_to_its_half_is_found_out() {
    for file in ["endpoints", "dialplan"] {
        let world = World::new();
        let path = match file {
            "endpoints" => world.asterisk.pjsip_include(),
            _ => world.asterisk.dialplan_include(),
        };
        // The last line of the file is cut off with all that it brings.
        let cut = format!("sed -i '$d' {0}; sed -i '$d' {0}; sed -i '$d' {0}", path.display());
        world.stand_in.on_next(1, RELOAD, &Behaviour::Before(cut));
        let answer = world.apply(matrix::CUT_SHORT);
        assert!(answer.string("/detail").contains("not live"), "{file}: {}", answer.text);
        world.recovers();
    }
}

#[test]
fn files_that_asterisk_may_not_read_are_named_with_the_fix() {
    // Root reads everything, so Asterisk runs as somebody else where the test may arrange that. Where it may not, the
    // files' mode shuts out everybody.
    let mut asterisk = Asterisk::configured();
    let directories =
        [asterisk.pjsip_include(), asterisk.dialplan_include()].map(|file| file.parent().unwrap().to_owned());
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let give = |group: u32, mode: u32| {
        for directory in &directories {
            if is_root {
                chown(directory, None, Some(group)).unwrap();
            }
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    if is_root {
        asterisk.run_as(NOBODY);
    }
    give(NOBODY, 0o2770);
    asterisk.start();
    let world = World::with(Database::create(), asterisk, |settings| settings);
    give(0, 0o755);
    let files = [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()];
    if is_root {
        for file in &files {
            chown(file, None, Some(0)).unwrap();
        }
    } else {
        let shut = format!("chmod 0 {} {}", files[0].display(), files[1].display());
        world.stand_in.on_next(1, RELOAD, &Behaviour::Before(shut));
    }
    let detail = world.apply(matrix::UNREADABLE).string("/detail");
    assert!(detail.contains(&format!("unable to read {}", world.asterisk.pjsip_include().display())), "{detail}");
    assert!(detail.contains(&format!("chmod 2770 {}", directories[0].display())), "{detail}");
    // What it says is what helps.
    give(NOBODY, 0o2770);
    world.recovers();
}

#[test]
fn a_cache_that_keeps_former_users_is_a_warning() {
    let mut world = World::new();
    let sorcery = world.asterisk.etc().join("sorcery.conf");
    let cached = ["endpoint", "auth", "aor"].map(|kind| {
        format!(
            "{kind}/cache=memory_cache,object_lifetime_maximum=3600\n{kind}=config,pjsip.conf,criteria=type={kind}\n"
        )
    });
    fs::write(&sorcery, format!("[res_pjsip]\n{}", cached.concat())).unwrap();
    world.asterisk.append("modules.conf", "load=res_sorcery_memory_cache.so");
    world.asterisk.restart();
    let former = &world.bystander;
    assert_eq!(former.register(), 200);
    world.database.sql("UPDATE extensions SET ha1 = md5(ha1) WHERE number = 1000");
    let warnings = |world: &World| world.portal.http().post_empty("/apply").expect(200).json["warnings"].to_string();
    let told = warnings(&world);
    assert!((2..=6).step_by(2).all(|line| told.contains(&format!("sorcery.conf, line {line}: "))), "{told}");
    assert_eq!(former.register(), 200, "by what is cached");
    let text = fs::read_to_string(&sorcery).unwrap().replace("=3600", "=3600,expire_on_reload=true");
    fs::write(&sorcery, text).unwrap();
    world.asterisk.restart();
    assert_eq!(warnings(&world), "[]");
    assert_eq!(former.register(), 401);
}
