package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const maxBody = 8 << 20 // octets of one API request

// serveAPI answers the lab's HTTP API until ctx ends.
//
//	GET  /messages?to=&from=&mx=&source=&uid=&received_id=&message_id=&after=&limit=
//	GET  /exchangers
//	PUT  /mood/{mx}   {"mood":"greylist","wait":"5s","tls":true}, or one word
//	PUT  /listing/{what}  {"zone":"bl.lab.test","code":"127.0.0.2","views":{"n3":"127.255.255.254"}},
//	                    or one word: a code, or clean; nothing for the
//	                    usual code. what is an address or a domain
//	DELETE /listing/{what}?zone=
//	PUT  /spam/{username}  has that account send spam, where Config.Spam does it
//	PUT  /dns         {"shop.test":{"records":["MX 10 mx.inbox.test."]},"gone.test":null}
func (l *Lab) serveAPI(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /messages", l.getMessages)
	mux.HandleFunc("GET /exchangers", l.getExchangers)
	mux.HandleFunc("PUT /mood/{mx}", l.putMood)
	mux.HandleFunc("PUT /dns", l.putDNS)
	mux.HandleFunc("PUT /listing/{what}", l.putListing)
	mux.HandleFunc("DELETE /listing/{what}", l.deleteListing)
	if l.cfg.Spam != nil {
		mux.HandleFunc("PUT /spam/{username}", l.putSpam)
	}
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 64 << 10,
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(bye) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(l.api)
	if stop() {
		return fmt.Errorf("serve lab api: %w", err)
	}
	<-ended
	return nil
}

func (l *Lab) getMessages(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := Filter{
		MX: q.Get("mx"), Source: q.Get("source"), To: q.Get("to"), From: q.Get("from"),
		UID: q.Get("uid"), ReceivedID: q.Get("received_id"), MessageID: q.Get("message_id"),
	}
	var err error
	if s := q.Get("after"); s != "" {
		if f.After, err = strconv.ParseUint(s, 10, 64); err != nil {
			refuse(w, http.StatusBadRequest, "after must be a number")
			return
		}
	}
	if s := q.Get("limit"); s != "" {
		if f.Limit, err = strconv.Atoi(s); err != nil || f.Limit < 1 || f.Limit > 10_000 {
			refuse(w, http.StatusBadRequest, "limit must be a number from 1 to 10000")
			return
		}
	}
	mails, total := l.Messages(f)
	if mails == nil {
		mails = []Mail{}
	}
	show(w, map[string]any{"messages": mails, "total": total})
}

func (l *Lab) getExchangers(w http.ResponseWriter, _ *http.Request) {
	type row struct {
		Name string `json:"name"`
		Addr string `json:"addr"`
		Mood Mood   `json:"mood"`
		Tally
	}
	rows := make([]row, 0, len(l.mxs))
	for _, e := range l.mxs {
		rows = append(rows, row{e.name, e.ln.Addr().String(), *e.mood.Load(), e.tally()})
	}
	show(w, map[string]any{"exchangers": rows})
}

func (l *Lab) putMood(w http.ResponseWriter, r *http.Request) {
	b, ok := read(w, r)
	if !ok {
		return
	}
	var m Mood
	var err error
	if word := strings.TrimSpace(string(b)); strings.HasPrefix(word, "{") {
		err = json.Unmarshal(b, &m)
	} else {
		m, err = ParseMood(strings.Trim(word, `"`))
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := l.SetMood(r.PathValue("mx"), m); err != nil {
		code := http.StatusBadRequest
		if errors.Is(err, ErrNoExchanger) {
			code = http.StatusNotFound
		}
		refuse(w, code, err.Error())
		return
	}
	show(w, m)
}

func (l *Lab) putDNS(w http.ResponseWriter, r *http.Request) {
	b, ok := read(w, r)
	if !ok {
		return
	}
	var names map[string]*Name
	if err := json.Unmarshal(b, &names); err != nil {
		refuse(w, http.StatusBadRequest, "read names: "+err.Error())
		return
	}
	for name, n := range names {
		if n == nil {
			continue
		}
		if _, err := parseName(canonical(name), *n); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	for name, n := range names {
		if err := l.SetName(name, n); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	show(w, map[string]any{"names": len(names)})
}

// putSpam has an account send spam.
func (l *Lab) putSpam(w http.ResponseWriter, r *http.Request) {
	username := r.PathValue("username")
	if err := l.cfg.Spam(username); err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	show(w, map[string]string{"spammer": username})
}

func read(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusBadRequest, "read request: "+err.Error())
		return nil, false
	}
	return b, true
}

func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why})
}
