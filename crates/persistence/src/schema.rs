// As `diesel print-schema` writes it.

diesel::table! {
    apply_audit_log (id) {
        id -> Uuid,
        tenant -> Text,
        node -> Text,
        revision -> Int8,
        outcome -> Text,
        actor -> Nullable<Text>,
        request_id -> Text,
        users -> Int4,
        added -> Array<Int4>,
        removed -> Array<Int4>,
        changed -> Array<Int4>,
        files -> Jsonb,
        timings -> Jsonb,
        warnings -> Array<Text>,
        detail -> Nullable<Text>,
        started_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
        duration_ms -> Nullable<Float8>,
    }
}

diesel::table! {
    extensions (tenant, number) {
        tenant -> Text,
        number -> Int4,
        user_id -> Uuid,
        realm -> Text,
        ha1 -> Text,
        revision -> Int8,
    }
}

diesel::table! {
    tenants (name) {
        name -> Text,
        revision -> Int8,
        token -> Uuid,
        identity -> Uuid,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        tenant -> Text,
        name -> Text,
        email -> Text,
        created_at -> Timestamptz,
        revision -> Int8,
    }
}

diesel::joinable!(extensions -> users (user_id));
diesel::joinable!(users -> tenants (tenant));

diesel::allow_tables_to_appear_in_same_query!(apply_audit_log, extensions, tenants, users);
