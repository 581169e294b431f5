package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"postern/tenant"
)

const (
	// maxCall is the most octets a request or an answer may have.
	maxCall = 512 << 10
	// maxCallHead is what a frame has besides: verb or code, and times.
	maxCallHead = 1 + maxVerb + 4
	maxVerb     = 32
	// maxErrorText bounds an error's words.
	maxErrorText = 1024
)

// Codes of answers. They keep the errors that callers decide by.
const (
	codeDone = iota
	codeError
	codeNoLeader
	codeUnknown
	codeClosed
	codeTooLarge
	codeNotOwner
	codeRefused
	codeNoVerb
	codeLate
)

// errNoVerb says that the other node, of another version, knows no such call.
var errNoVerb = errors.New("call is not known there")

// sentinels are the errors that survive a call.
func sentinels() map[byte]error {
	return map[byte]error{
		codeNoLeader: ErrNoLeader,
		codeUnknown:  ErrUnknown,
		codeClosed:   ErrClosed,
		codeTooLarge: ErrTooLarge,
		codeNotOwner: ErrNotOwner,
		codeNoVerb:   errNoVerb,
		codeLate:     context.DeadlineExceeded,
	}
}

// putRequest is a request's record: verb, what is left of the caller's time,
// body.
func putRequest(verb string, left time.Duration, body []byte) []byte {
	payload := make([]byte, recordHead, recordHead+maxCallHead+len(body))
	payload = append(payload, byte(len(verb)))
	payload = append(payload, verb...)
	payload = binary.LittleEndian.AppendUint32(payload, clip32(left.Milliseconds()))
	payload = append(payload, body...)
	seal(payload)
	return payload
}

func getRequest(payload []byte) (verb string, left time.Duration, body []byte, err error) {
	if len(payload) < 1 || payload[0] == 0 || payload[0] > maxVerb || len(payload) < 1+int(payload[0])+4 {
		return "", 0, nil, errors.New("read call: no verb")
	}
	n := 1 + int(payload[0])
	left = time.Duration(binary.LittleEndian.Uint32(payload[n:])) * time.Millisecond
	return string(payload[1:n]), left, payload[n+4:], nil
}

// putAnswer is an answer's record: code, the time the work took, body or words.
func putAnswer(took time.Duration, body []byte, err error) []byte {
	code := byte(codeDone)
	if err == nil && len(body) > maxCall {
		err = fmt.Errorf("answer of %d octets: %w", len(body), ErrTooLarge)
	}
	if err != nil {
		code, body = codeOf(err)
	}
	record := make([]byte, recordHead, recordHead+5+len(body))
	record = append(record, code)
	record = binary.LittleEndian.AppendUint32(record, clip32(took.Microseconds()))
	record = append(record, body...)
	seal(record)
	return record
}

// getAnswer returns the body, or the error as the other node meant it.
func getAnswer(payload []byte) (body []byte, took time.Duration, remote, err error) {
	if len(payload) < 5 {
		return nil, 0, nil, errors.New("read answer: too short")
	}
	took = time.Duration(binary.LittleEndian.Uint32(payload[1:])) * time.Microsecond
	body = payload[5:]
	if payload[0] == codeDone {
		return body, took, nil, nil
	}
	return nil, took, remoteError(payload[0], string(body[:min(len(body), maxErrorText)])), nil
}

// codeOf turns an error into a code and words. ErrUnknown comes first: it may
// wrap others, and nothing may hide that a thing may have happened.
func codeOf(err error) (byte, []byte) {
	var refused *tenant.Refused
	if errors.As(err, &refused) {
		return codeRefused, clipped(refused.Reason)
	}
	for _, code := range []byte{codeUnknown, codeNoLeader, codeClosed, codeTooLarge, codeNotOwner, codeNoVerb, codeLate} {
		if errors.Is(err, sentinels()[code]) {
			return code, clipped(err.Error())
		}
	}
	return codeError, clipped(err.Error())
}

func clipped(s string) []byte { return []byte(s[:min(len(s), maxErrorText)]) }

func remoteError(code byte, text string) error {
	if code == codeRefused {
		return &tenant.Refused{Reason: text}
	}
	return &farError{text: text, is: sentinels()[code]}
}

// farError is another node's error in its own words.
type farError struct {
	text string
	is   error
}

// Error implements error.
func (e *farError) Error() string { return e.text }

// Unwrap gives the sentinel, or nil.
func (e *farError) Unwrap() error { return e.is }

func clip32(n int64) uint32 { return uint32(min(max(n, 0), 1<<32-1)) }
