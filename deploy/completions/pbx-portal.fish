# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pbx_portal_global_optspecs
    string join \n config= h/help V/version
end

function __fish_pbx_portal_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pbx_portal_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pbx_portal_using_subcommand
    set -l cmd (__fish_pbx_portal_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -l config -d 'The settings file [default: /etc/pbx-portal/config.toml, if there is one]' -r -F
complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -s h -l help -d 'Print help'
complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -s V -l version -d 'Print version'
complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -f -a "serve" -d 'Migrate the database, then serve the API until SIGTERM or SIGINT'
complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -f -a "migrate" -d 'Bring the database up to date and exit'
complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -f -a "check" -d 'Say point by point whether an apply would work and phones could call, and what to fix'
complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -f -a "openapi" -d 'Print the OpenAPI document of the API'
complete -c pbx-portal -n "__fish_pbx_portal_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand serve" -l config -d 'The settings file [default: /etc/pbx-portal/config.toml, if there is one]' -r -F
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand serve" -s h -l help -d 'Print help'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand migrate" -l config -d 'The settings file [default: /etc/pbx-portal/config.toml, if there is one]' -r -F
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand migrate" -s h -l help -d 'Print help'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand check" -l config -d 'The settings file [default: /etc/pbx-portal/config.toml, if there is one]' -r -F
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand check" -l quiet -d 'Print only what is not well'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand check" -s h -l help -d 'Print help'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand openapi" -l config -d 'The settings file [default: /etc/pbx-portal/config.toml, if there is one]' -r -F
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand openapi" -s h -l help -d 'Print help'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand help; and not __fish_seen_subcommand_from serve migrate check openapi help" -f -a "serve" -d 'Migrate the database, then serve the API until SIGTERM or SIGINT'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand help; and not __fish_seen_subcommand_from serve migrate check openapi help" -f -a "migrate" -d 'Bring the database up to date and exit'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand help; and not __fish_seen_subcommand_from serve migrate check openapi help" -f -a "check" -d 'Say point by point whether an apply would work and phones could call, and what to fix'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand help; and not __fish_seen_subcommand_from serve migrate check openapi help" -f -a "openapi" -d 'Print the OpenAPI document of the API'
complete -c pbx-portal -n "__fish_pbx_portal_using_subcommand help; and not __fish_seen_subcommand_from serve migrate check openapi help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
