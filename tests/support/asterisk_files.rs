//! The administrator's part of a private Asterisk: the smallest configuration that takes calls and logs no warning.

use std::path::Path;

/// What `POST /apply` needs Asterisk to have, and what calls between phones need.
const MODULES: &str =
    "res_timing_timerfd res_sorcery_config res_sorcery_memory res_sorcery_astdb res_pjproject res_pjsip
    res_pjsip_session res_pjsip_pubsub res_pjsip_outbound_publish res_pjsip_exten_state
    res_pjsip_dialog_info_body_generator res_pjsip_pidf_body_generator res_pjsip_sdp_rtp res_pjsip_registrar
    res_pjsip_authenticator_digest res_pjsip_endpoint_identifier_user res_pjsip_caller_id res_pjsip_nat
    res_pjsip_rfc3326 res_rtp_asterisk chan_pjsip pbx_config app_dial bridge_simple codec_ulaw codec_alaw func_logic func_strings";

/// Files that Asterisk warns about when they are missing.
const QUIET: [(&str, &str); 8] = [
    ("acl.conf", "; none\n"),
    ("ccss.conf", "[general]\n"),
    ("cdr.conf", "[general]\nenable=no\n"),
    ("cel.conf", "[general]\nenable=no\n"),
    ("features.conf", "[general]\n"),
    (
        "indications.conf",
        "[general]\ncountry=us\n[us]\ndescription=US\nringcadence=2000,4000\ndial=350+440\nbusy=480+620/500,0/500\n\
         ring=440+480/2000,0/4000\ncongestion=480+620/250,0/250\n",
    ),
    ("pjproject.conf", "[startup]\ntype=startup\nlog_level=default\n"),
    ("udptl.conf", "[general]\n"),
];

/// The first lines of an include file that nothing was applied to yet: an `#include` of nothing stops Asterisk.
pub(crate) const EMPTY_INCLUDE: &str = "; Nothing was applied yet.\n";
pub(crate) const PJSIP_INCLUDE_LINE: &str = "#include pjsip.d/synergycall/generated_endpoints.conf";
pub(crate) const DIALPLAN_INCLUDE_LINE: &str = "#include extensions.d/synergycall/generated_routing.conf";
pub(crate) const PJSIP_INCLUDE: &str = "etc/pjsip.d/synergycall/generated_endpoints.conf";
pub(crate) const DIALPLAN_INCLUDE: &str = "etc/extensions.d/synergycall/generated_routing.conf";

/// Every file below the private directory: its path and its text.
pub(crate) fn files(directory: &Path, installation: &Installation, port: u16) -> Vec<(String, String)> {
    let home = directory.display();
    let Installation { modules, data, sbin, .. } = installation;
    let mut files = vec![
        (
            "etc/asterisk.conf".to_owned(),
            format!(
                "[directories]\nastetcdir => {home}/etc\nastmoddir => {modules}\nastvarlibdir => {data}\n\
                 astdbdir => {home}/db\nastkeydir => {home}/db\nastdatadir => {data}\nastagidir => {home}/spool\n\
                 astspooldir => {home}/spool\nastrundir => {home}/run\nastlogdir => {home}/log\nastsbindir => {sbin}\n\
                 [options]\nnocolor = yes\n"
            ),
        ),
        (
            "etc/modules.conf".to_owned(),
            format!(
                "[modules]\nautoload=no\nload={}.so\n",
                MODULES.split_whitespace().collect::<Vec<_>>().join(".so\nload=")
            ),
        ),
        ("etc/logger.conf".to_owned(), "[general]\n[logfiles]\nfull => notice,warning,error\n".to_owned()),
        ("etc/rtp.conf".to_owned(), "[general]\nrtpstart=20000\nrtpend=29999\n".to_owned()),
        (
            "etc/pjsip.conf".to_owned(),
            format!(
                "[global]\ntype=global\nuser_agent=Private\n[transport-udp]\ntype=transport\nprotocol=udp\n\
                 bind=127.0.0.1:{port}\n{PJSIP_INCLUDE_LINE}\n"
            ),
        ),
        (
            "etc/extensions.conf".to_owned(),
            format!("[general]\nstatic=yes\nwriteprotect=yes\n[globals]\n{DIALPLAN_INCLUDE_LINE}\n"),
        ),
        (PJSIP_INCLUDE.to_owned(), EMPTY_INCLUDE.to_owned()),
        (DIALPLAN_INCLUDE.to_owned(), EMPTY_INCLUDE.to_owned()),
    ];
    files.extend(QUIET.map(|(name, text)| (format!("etc/{name}"), text.to_owned())));
    files
}

/// Where the parts of an Asterisk lie, and how its program is started.
pub(crate) struct Installation {
    /// The program and what has to stand before its own arguments.
    pub(crate) program: Vec<String>,
    modules: String,
    data: String,
    sbin: String,
}

impl Installation {
    /// Finds the parts below `root`, which holds no blank: an unpacked tree, or `/`.
    pub(crate) fn find(root: &Path) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let sbin = text(&root.join("usr/sbin"));
        let program = format!("{sbin}/asterisk");
        assert!(Path::new(&program).exists(), "{program} is missing: PBX_TEST_ASTERISK names no Asterisk");
        let data = text(&root.join("usr/share/asterisk"));
        let library = library(root);
        let found = [library.join("asterisk/modules"), root.join("usr/lib/asterisk/modules")];
        let modules = found.iter().find(|path| path.is_dir()).expect("Asterisk's modules");
        let program = if root == Path::new("/") {
            vec![program]
        } else {
            // A tree of another Debian brings its own C library, loader included.
            let loader = entries(&library)
                .into_iter()
                .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux")));
            let loader = text(&loader.expect("the C library's loader in the unpacked Asterisk"));
            vec![loader, "--library-path".to_owned(), format!("{0}:{0}/asterisk", text(&library)), program]
        };
        Self { program, modules: text(modules), data, sbin }
    }
}

/// `usr/lib/<this machine's architecture>`.
fn library(root: &Path) -> std::path::PathBuf {
    let libraries = entries(&root.join("usr/lib")).into_iter();
    let mut ours = libraries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(std::env::consts::ARCH) && name.contains("-linux-gnu")
    });
    ours.next().unwrap_or_else(|| root.join("usr/lib"))
}

fn entries(directory: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(directory).map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
