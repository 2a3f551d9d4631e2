"""The console: who acts, on what, and how often it asks."""

from tests.mutants.mutant import CONSOLE, SHARDED_QUEUES, Mutant

MUTANTS = [
    Mutant(
        "an operator edits schedules",
        "web/actions.py",
        'name, label, role = "edit-schedule", "Edit", "admin"',
        'name, label, role = "edit-schedule", "Edit", "operator"',
        (CONSOLE + "operator_moves_a_delayed_request_and_an_admin_edits_a_schedule",),
    ),
    Mutant(
        "another site acts in the name of a person",
        "web/csrf.py",
        "        if not is_same_origin(request):\n",
        "        if False:\n",
        (CONSOLE + "action_of_another_site_is_refused",),
    ),
    Mutant(
        "any token is as good as that of the session",
        "web/csrf.py",
        "if not session or not hmac.compare_digest(self._token(session), token):",
        "if not session:",
        (CONSOLE + "action_without_the_token_of_its_session_is_refused",),
    ),
    Mutant(
        "a console acts that should only show",
        "web/app.py",
        "        if not self.options.allow_actions:\n",
        "        if False:\n",
        (CONSOLE + "console_that_only_shows_does_nothing",),
    ),
    Mutant(
        "roles are shown, and not asked",
        "web/app.py",
        "        if not person.is_at_least(action.role):\n",
        "        if False:\n",
        (CONSOLE + "role_that_is_too_low_does_nothing",),
    ),
    Mutant(
        "everybody is somebody",
        "web/people.py",
        "return Person(name, role) if role in ROLES else None",
        "return Person(name, role or 'viewer')",
        (CONSOLE + "person_who_is_not_known_sees_nothing",),
    ),
    Mutant(
        "an action takes what came after its question",
        "web/actions.py",
        "        if until:\n",
        "        if False:\n",
        (CONSOLE + "letters_that_die_after_the_question_are_left_alone",),
    ),
    Mutant(
        "another site reads the console through a name of its own",
        "web/headers.py",
        "is_open = not self.hosts or",
        "is_open = True or",
        (CONSOLE + "name_of_another_host_is_refused",),
    ),
    Mutant(
        "names turn the writing direction of a page",
        "web/templating.py",
        "    finalize=shown,\n",
        "",
        (CONSOLE + "direction_marks_of_a_name_are_spelled_out",),
    ),
    Mutant(
        "each page reads for itself",
        "web/details.py",
        "        self._room -= reads\n",
        "",
        (CONSOLE + "hundred_pages_ask_a_bounded_number_of_questions",),
    ),
    Mutant(
        "the console gives its token to a server that it does not know",
        "web/api_server.py",
        'ssl.create_default_context(cafile=self.mount / "ca.crt")',
        "ssl._create_unverified_context()",
        (SHARDED_QUEUES + "token_is_not_shown_to_a_server_of_another_authority",),
    ),
    Mutant(
        "an API server that drips keeps its reader for ever",
        "web/api_server.py",
        "    timer.start()\n",
        "",
        (SHARDED_QUEUES + "answer_that_drips_is_given_up",),
    ),
    Mutant(
        "an answer of any size is kept",
        "web/api_server.py",
        "        if len(body) > self.most_bytes:\n",
        "        if False:\n",
        (SHARDED_QUEUES + "answer_that_is_too_large_is_not_kept",),
    ),
    Mutant(
        "what was known goes with the API server",
        "web/sharded_queues.py",
        "Cluster(before.at, before.queues, before.unlisted, before.lines, since, str(error))",
        "Cluster(silent_since=since, trouble=str(error))",
        (SHARDED_QUEUES + "api_server_that_goes_away_is_said_and_harms_nothing_else",),
    ),
]
