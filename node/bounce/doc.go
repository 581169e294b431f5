// Package bounce reads and writes the language of failed mail: it classifies
// SMTP replies (Classify), composes delivery status notifications (Compose, RFC
// 3464), reads what comes back about mail long sent (ReadFeedback: late
// bounces, complaints, notices), and makes and checks the tokens by which such
// a report is known to mean a message of ours (Signer).
//
// It is pure: values in, values out. It must never open a connection, read a
// clock or know a queue.
package bounce
