package submission

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"postern/tenant"
)

// onAuth runs the whole AUTH exchange (RFC 4954): the engine counts no
// failures, allows AUTH within a transaction and knows no LOGIN.
func (w *wire) onAuth(arg string) *reply {
	now := time.Now()
	mech, initial, hasInitial := strings.Cut(arg, " ")
	switch {
	case !w.greeted || !w.esmtp:
		return errHelloFirst
	case w.tls == "":
		return errAuthNeedsTLS
	case w.sess.account != 0:
		return errAuthAlready
	case w.sess.tx != nil:
		return errAuthInMessage
	case w.srv.tally.blocked(w.netKey, "", now):
		return errTooManyFails
	}
	var username, password string
	var r *reply
	mech = strings.ToUpper(mech)
	switch mech {
	case "PLAIN":
		username, password, r = w.authPlain(strings.TrimSpace(initial), hasInitial)
	case "LOGIN":
		username, password, r = w.authLogin(strings.TrimSpace(initial), hasInitial)
	default:
		return errAuthMechanism
	}
	if r != nil {
		return r
	}
	if r = w.sess.login(strings.ToLower(username), password, mech, now); r != nil {
		return r
	}
	w.say("235 2.7.0 Authentication successful\r\n")
	return nil
}

// authPlain: RFC 4616, authzid NUL authcid NUL password.
func (w *wire) authPlain(initial string, has bool) (username, password string, r *reply) {
	if !has {
		if initial, r = w.challenge(""); r != nil {
			return "", "", r
		}
	}
	raw, ok := decodeResponse(initial)
	if !ok {
		return "", "", errAuthSyntax
	}
	parts := bytes.Split(raw, []byte{0})
	if len(parts) != 3 {
		return "", "", errAuthSyntax
	}
	if len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return "", "", errAuthFailed // nobody may act for another
	}
	return string(parts[1]), string(parts[2]), nil
}

// authLogin is the exchange that old programs know, never standardised: the
// name is asked for and then the password.
func (w *wire) authLogin(initial string, has bool) (username, password string, r *reply) {
	if !has {
		if initial, r = w.challenge("Username:"); r != nil {
			return "", "", r
		}
	}
	name, ok := decodeResponse(initial)
	if !ok {
		return "", "", errAuthSyntax
	}
	if initial, r = w.challenge("Password:"); r != nil {
		return "", "", r
	}
	pass, ok := decodeResponse(initial)
	if !ok {
		return "", "", errAuthSyntax
	}
	return string(name), string(pass), nil
}

// challenge asks and returns the client's line, still encoded.
func (w *wire) challenge(text string) (string, *reply) {
	w.say("334 " + base64.StdEncoding.EncodeToString([]byte(text)) + "\r\n")
	raw, err := w.readLine(maxAuth)
	if r := (*reply)(nil); errors.As(err, &r) {
		return "", r
	} else if err != nil {
		w.ended = true
		return "", errIdle
	}
	line, ok := checkLine(raw)
	if !ok {
		return "", errBadLine
	}
	if line == "*" {
		return "", errAuthCancelled
	}
	return line, nil
}

// decodeResponse: "=" is an empty response (RFC 4954 §4).
func decodeResponse(s string) ([]byte, bool) {
	if s == "=" {
		return nil, true
	}
	b, err := base64.StdEncoding.DecodeString(s)
	return b, err == nil
}

// login checks credentials. An unknown name costs the same time and gets the
// same reply as a wrong password.
func (s *session) login(username, password, mech string, now time.Time) *reply {
	srv, w := s.srv, s.w
	if srv.tally.blocked(w.netKey, username, now) {
		srv.log.loginFailed(clip(username, 100), w.peer, errTooManyFails)
		return errTooManyFails
	}
	st := srv.cfg.State()
	a := st.AccountByUsername(username)
	right, r := s.rightPassword(st, a, username, password)
	if r != nil {
		srv.log.loginFailed(clip(username, 100), w.peer, r)
		return r
	}
	// Of an account that is closed for ever nobody learns that it was there.
	closed := a != nil && st.ClosedAccount(a) != nil
	if !right || a == nil || closed {
		srv.tally.failed(w.netKey, username, now)
		srv.metrics.failures.Inc()
		r := errAuthFailed
		if srv.tally.blocked(w.netKey, username, now) {
			r = errTooManyFails
		}
		srv.log.loginFailed(clip(username, 100), w.peer, r)
		return r
	}
	t := st.Tenant(a.Tenant)
	if t == nil || a.Held != "" || t.Held != "" {
		r := whyHeld(st, a, errHeldAtAuth)
		srv.log.loginFailed(username, w.peer, r)
		return r
	}
	if !s.use(a.ID) {
		return errTooManyConns
	}
	srv.tally.entered(w.netKey, username, now)
	s.account, s.secret = a.ID, a.Secret
	srv.log.loggedIn(t, a, w.peer, mech)
	if srv.cfg.LoggedIn != nil {
		srv.cfg.LoggedIn(a.ID, w.peer)
	}
	return nil
}

// use moves the session's place among its account's connections to a.
func (s *session) use(a tenant.AccountID) bool {
	if s.counted == a {
		return true
	}
	if !s.srv.doors.use(a) {
		return false
	}
	if s.counted != 0 {
		s.srv.doors.unuse(s.counted)
	}
	s.counted = a
	return true
}

// clip bounds what a client can put into the log.
func clip(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}
