package bounce

import (
	"net/netip"
	"testing"
)

// fact is one known reply of a provider and what must be read from it. The
// numbers are those of the collection the rules were written from: each has a
// row at least.
type fact struct {
	n        int
	host     string
	stage    Stage
	code     int
	enhanced string
	text     string
	class    string
	scope    Scope
	action   Course
	extra    string // "zone=…", "range", "weak", one of them
}

const (
	gmail   = "gmail-smtp-in.l.google.com"
	outlook = "hotmail-com.olc.protection.outlook.com"
	office  = "contoso-com.mail.protection.outlook.com"
	yahoo   = "mta5.am0.yahoodns.net"
	apple   = "mx01.mail.icloud.com"
	anyone  = "mx.b.example"
)

var facts = []fact{
	// Google
	{1, gmail, StageData, 421, "4.7.28", "[192.0.2.1 15] Our system has detected an unusual rate of unsolicited email originating from your IP address.", IPThrottle, ScopeSource, CourseSlow, ""},
	{2, gmail, StageData, 421, "4.7.28", "Gmail has detected an unusual rate of unsolicited email originating from your IP Netblock.", IPThrottle, ScopeSource, CourseSlow, "range"},
	{3, gmail, StageData, 421, "4.7.28", "Gmail has detected an unusual rate of email originating from your DKIM domain [b.example].", RateLimited, ScopeSender, CourseRetry, ""},
	{3, gmail, StageData, 421, "4.7.28", "Gmail has detected an unusual rate of email originating from your SPF domain.", RateLimited, ScopeSender, CourseRetry, ""},
	{3, gmail, StageData, 421, "4.7.28", "Gmail has detected an unusual rate of email containing one of your URL domains.", RateLimited, ScopeSender, CourseRetry, ""},
	{4, gmail, StageData, 421, "4.7.28", "Gmail has detected an unusual rate of email. To protect our users, it has been temporarily rate limited.", IPThrottle, ScopeSource, CourseSlow, ""},
	{5, gmail, StageData, 421, "4.7.28", "Gmail has detected this message exceeded its quota for sending messages with the same Message-ID.", ProtocolErrors, ScopeMessage, CourseRetry, ""},
	{6, gmail, StageData, 550, "5.7.28", "There is an unusual rate of unsolicited email from your IP address. Mail from your IP address has been blocked.", IPBlock, ScopeSource, CourseHold, ""},
	{7, gmail, StageData, 421, "4.7.0", "This message is suspicious due to the very low reputation of the sending IP address.", IPThrottle, ScopeSource, CourseSlow, ""},
	{7, gmail, StageData, 550, "5.7.1", "[192.0.2.1] Our system has detected that this message is likely suspicious due to the very low reputation of the sending IP address.", IPBlock, ScopeSource, CourseHold, ""},
	{8, gmail, StageData, 550, "5.7.1", "[192.0.2.1] likely suspicious due to the very low reputation of the sending domain.", InvalidSender, ScopeSender, CourseBounce, ""},
	{9, gmail, StageData, 421, "4.7.0", "The IP address sending this message does not have a PTR record, or the corresponding forward DNS entry does not match.", BadConfiguration, ScopeNode, CourseHold, ""},
	{9, gmail, StageData, 451, "4.7.23", "The sending IP address for this message doesn't have a PTR record.", BadConfiguration, ScopeNode, CourseHold, ""},
	{9, gmail, StageData, 550, "5.7.25", "The sending IP address doesn't match its record.", BadConfiguration, ScopeNode, CourseHold, ""},
	{10, gmail, StageData, 550, "5.7.1", "[192.0.2.1] Our system has detected that this message does not meet IPv6 sending guidelines regarding PTR records and authentication.", BadConfiguration, ScopeNode, CourseHold, ""},
	{11, gmail, StageData, 550, "5.7.26", "Your email has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM.", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{11, gmail, StageData, 421, "4.7.27", "Your email has been rate limited because SPF authentication didn't pass.", AuthenticationFailed, ScopeSender, CourseRetry, ""},
	{11, gmail, StageData, 550, "5.7.30", "DKIM authentication didn't pass.", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{11, gmail, StageData, 421, "4.7.40", "there is no DMARC record or policy.", AuthenticationFailed, ScopeSender, CourseRetry, ""},
	{11, gmail, StageData, 421, "4.7.31", "the domain of the From header lacks a policy", AuthenticationFailed, ScopeSender, CourseRetry, ""},
	{11, gmail, StageData, 550, "5.7.32", "the From: header isn't aligned with either the authenticated SPF or DKIM organizational domain.", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{12, gmail, StageMail, 421, "4.7.29", "this message wasn't sent over a TLS connection.", BadConfiguration, ScopeNode, CourseHold, ""},
	{12, gmail, StageMail, 550, "5.7.29", "Gmail requires all bulk email senders to use TLS.", BadConfiguration, ScopeNode, CourseHold, ""},
	{13, gmail, StageData, 550, "5.7.1", "[192.0.2.1] Our system has detected that this message is likely unsolicited mail. To reduce the amount of spam, it has been blocked.", SpamContent, ScopeMessage, CourseBounce, ""},
	{13, gmail, StageData, 550, "5.7.1", "likely suspicious due to the nature of the content and/or the links within.", SpamContent, ScopeMessage, CourseBounce, ""},
	{14, gmail, StageData, 550, "5.7.1", "Messages missing a valid Message-ID header are not accepted.", ProtocolErrors, ScopeMessage, CourseBounce, ""},
	{14, gmail, StageData, 550, "5.7.1", "This message is not RFC 5322 compliant: there are duplicate headers.", ProtocolErrors, ScopeMessage, CourseBounce, ""},
	{15, gmail, StageData, 550, "5.7.1", "The IP you're using to send mail is not authorized to send email directly to our servers.", IPBlock, ScopeSource, CourseHold, ""},
	{16, gmail, StageRcpt, 450, "4.2.1", "The user you are trying to contact is receiving mail too quickly.", RateLimited, ScopeRecipient, CourseRetry, ""},
	{17, gmail, StageRcpt, 452, "4.2.2", "The recipient's inbox is out of storage space.", QuotaIssues, ScopeRecipient, CourseRetry, ""},
	{17, gmail, StageRcpt, 552, "5.2.2", "The recipient's inbox is out of storage space and inactive.", QuotaIssues, ScopeRecipient, CourseBounce, ""},
	{18, gmail, StageRcpt, 550, "5.1.1", "The email account that you tried to reach does not exist.", InvalidRecipient, ScopeRecipient, CourseBounce, ""},
	{18, gmail, StageRcpt, 550, "5.2.1", "The email account that you tried to reach is inactive.", InactiveMailbox, ScopeRecipient, CourseBounce, ""},
	{19, gmail, StageBanner, 421, "4.7.0", "Try again later, closing connection.", RateLimited, ScopeSource, CourseSlow, ""},

	// Microsoft
	{20, outlook, StageMail, 550, "5.7.1", "Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).", IPBlock, ScopeSource, CourseHold, "range"},
	{20, outlook, StageMail, 550, "5.7.1", "Unfortunately, messages from [192.0.2.1] weren't sent (S3140).", IPBlock, ScopeSource, CourseHold, ""},
	{21, outlook, StageMail, 451, "4.7.650", "The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)", IPThrottle, ScopeSource, CourseSlow, ""},
	{22, outlook, StageMail, 421, "", "RP-001 The mail server IP connecting to Outlook.com server has exceeded the rate limit allowed.", IPThrottle, ScopeSource, CourseSlow, ""},
	{22, outlook, StageMail, 421, "", "RP-003 The mail server IP has exceeded the connection limit allowed.", IPThrottle, ScopeSource, CourseSlow, ""},
	{23, outlook, StageMail, 451, "4.7.652", "The mail server [192.0.2.1] has exceeded the maximum number of connections.", RateLimited, ScopeSource, CourseSlow, ""},
	{23, outlook, StageMail, 421, "", "exceeded maximum number of messages per connection", RateLimited, ScopeSource, CourseSlow, ""},
	{24, outlook, StageData, 550, "", "SC-001 Mail rejected by Outlook.com for policy reasons.", SpamBlock, ScopeSource, CourseHold, ""},
	{24, outlook, StageData, 550, "", "OU-002 Mail rejected by Outlook.com for policy reasons.", SpamBlock, ScopeSource, CourseHold, ""},
	{25, outlook, StageData, 550, "", "SC-002 Mail rejected by Outlook.com: the mail server IP has exhibited namespace mining behavior.", IPBlock, ScopeSource, CourseHold, ""},
	{26, outlook, StageData, 550, "", "SC-003 Mail rejected by Outlook.com: your IP address appears to be an open proxy/relay.", IPBlock, ScopeSource, CourseHold, ""},
	{27, outlook, StageData, 550, "", "SC-004 Mail rejected by Outlook.com. A block has been placed because we have received complaints.", IPBlock, ScopeSource, CourseHold, ""},
	{28, outlook, StageBanner, 550, "", "DY-001 Mail rejected by Outlook.com. We generally do not accept email from dynamic IP's.", BadConfiguration, ScopeNode, CourseHold, ""},
	{28, outlook, StageBanner, 550, "", "DY-002 Mail rejected by Outlook.com. The likely cause is a compromised or virus infected server.", IPBlock, ScopeSource, CourseHold, ""},
	{29, outlook, StageBanner, 550, "", "OU-001 Mail rejected by Outlook.com for policy reasons. See the list's lookup.", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{30, outlook, StageData, 550, "5.7.515", "Access denied, sending domain b.example does not meet the required authentication level.", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{31, office, StageRcpt, 550, "5.7.606", "Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit https://sender.office.com/", IPBlock, ScopeSource, CourseHold, ""},
	{31, office, StageRcpt, 550, "5.7.649", "Access denied.", IPBlock, ScopeSource, CourseHold, ""},
	{32, office, StageRcpt, 550, "5.7.511", "Access denied, banned sender[192.0.2.1]. To request removal please forward this message to delist@messaging.microsoft.com.", IPBlock, ScopeSource, CourseHold, ""},
	{33, office, StageMail, 451, "4.7.500", "Server busy. Please try again later from [192.0.2.1]. (S77719)", IPThrottle, ScopeSource, CourseSlow, ""},
	{33, office, StageMail, 451, "4.7.861", "Access denied, please try again later.", IPThrottle, ScopeSource, CourseSlow, ""},
	{34, office, StageData, 550, "5.7.501", "Access denied, spam abuse detected.", SpamBlock, ScopeSource, CourseHold, ""},
	{34, office, StageData, 550, "5.7.503", "Access denied, banned sender.", SpamBlock, ScopeSource, CourseHold, ""},
	{35, office, StageData, 550, "5.7.508", "Access denied, [192.0.2.1] has exceeded permitted limits within its IPv6 range.", IPThrottle, ScopeSource, CourseSlow, "range"},
	{36, office, StageData, 550, "5.7.513", "Service unavailable, Client host [192.0.2.1] blocked by contoso.com using Customer Block list (AS16012607)", PolicyRelated, ScopeRecipient, CourseBounce, ""},
	{36, office, StageData, 550, "5.7.507", "Access denied, rejected by recipient.", PolicyRelated, ScopeRecipient, CourseBounce, ""},
	{37, office, StageData, 550, "5.7.509", "Access denied, sending domain does not pass DMARC verification.", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{37, office, StageData, 550, "5.7.23", "The message was rejected because of Sender Policy Framework violation.", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{38, office, StageRcpt, 550, "5.4.1", "Recipient address rejected: Access denied. AS(201806281)", InvalidRecipient, ScopeRecipient, CourseBounce, ""},
	{38, office, StageRcpt, 550, "5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", InvalidRecipient, ScopeRecipient, CourseBounce, ""},
	{39, office, StageRcpt, 452, "4.5.3", "Too many recipients (AS780090)", TooManyRecipients, ScopeDestination, CourseRetry, ""},

	// Yahoo
	{40, yahoo, StageMail, 421, "4.7.0", "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1", IPThrottle, ScopeSource, CourseSlow, ""},
	{40, yahoo, StageMail, 421, "4.7.0", "[TS03] All messages from 192.0.2.1 will be deferred", IPThrottle, ScopeSource, CourseSlow, ""},
	{40, yahoo, StageMail, 421, "4.7.1", "[IPTS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", IPThrottle, ScopeSource, CourseSlow, ""},
	{41, yahoo, StageMail, 553, "5.7.2", "[TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.", IPBlock, ScopeSource, CourseHold, ""},
	{41, yahoo, StageMail, 553, "5.7.2", "[TSS11] All messages from 192.0.2.1 will be permanently deferred.", IPBlock, ScopeSource, CourseHold, ""},
	{42, yahoo, StageMail, 553, "5.7.1", "[BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{42, yahoo, StageMail, 553, "5.7.1", "[TSS07] Connections not accepted from servers without a clean record", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{43, yahoo, StageData, 554, "", "Message not allowed - [PH01] Email not accepted for policy reasons.", SpamContent, ScopeMessage, CourseBounce, ""},
	{44, yahoo, StageData, 554, "5.7.9", "Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{44, yahoo, StageData, 550, "5.7.9", "This mail has been blocked because the sender is unauthenticated.", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{45, yahoo, StageData, 451, "", "Message temporarily deferred due to unresolvable RFC.5321 from domain.", InvalidSender, ScopeSender, CourseRetry, ""},
	{45, yahoo, StageData, 554, "", "Message not accepted due to unresolvable RFC.5322 from domain.", InvalidSender, ScopeSender, CourseBounce, ""},
	{46, yahoo, StageData, 552, "", "1 Requested mail action aborted, mailbox not found", InvalidRecipient, ScopeRecipient, CourseBounce, ""},
	{46, yahoo, StageData, 554, "", "delivery error: dd This user doesn't have a yahoo.com account (x@yahoo.com) [0]", InvalidRecipient, ScopeRecipient, CourseBounce, ""},
	{46, yahoo, StageData, 554, "", "30 Sorry, your message to x@yahoo.com cannot be delivered. This mailbox is disabled (554.30).", InactiveMailbox, ScopeRecipient, CourseBounce, ""},
	{47, yahoo, StageMail, 421, "", "Max message per connection reached, closing transmission channel", RateLimited, ScopeSource, CourseSlow, ""},

	// Others
	{48, apple, StageBanner, 550, "5.7.0", "Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1", IPBlock, ScopeSource, CourseHold, ""},
	{48, apple, StageMail, 450, "4.1.0", "Message rejected due to excessive volume from this address", IPThrottle, ScopeSource, CourseSlow, ""},
	{48, apple, StageData, 421, "", "Try again later [HCM1]", IPThrottle, ScopeSource, CourseSlow, ""},
	{48, apple, StageData, 554, "5.7.1", "[HME1] message rejected", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{48, apple, StageData, 550, "5.7.1", "[CS01] Message rejected due to local policy.", PolicyRelated, ScopeRecipient, CourseBounce, ""},
	{49, "mx0a-001.pphosted.com", StageBanner, 554, "", "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", IPBlock, ScopeSource, CourseHold, ""},
	{49, "mx0a-001.pphosted.com", StageBanner, 550, "5.7.0", "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", IPBlock, ScopeSource, CourseHold, ""},
	{50, anyone, StageMail, 550, "5.7.1", "Mail refused. See http://csi.cloudmark.com/reset-request/?ip=192.0.2.1", IPBlock, ScopeSource, CourseHold, ""},
	{50, anyone, StageMail, 554, "", "IP blacklisted by CSI. For remediation use the form.", IPBlock, ScopeSource, CourseHold, ""},
	{51, "eu-smtp-inbound-1.mimecast.com", StageRcpt, 550, "", "csi.mimecast.org Poor Reputation Sender. - https://community.mimecast.com/docs/DOC-1369#550", IPBlock, ScopeSource, CourseHold, ""},
	{51, "us-smtp-inbound-1.mimecast.com", StageRcpt, 554, "", "Host network not allowed - https://community.mimecast.com/docs/DOC-1369#554", IPBlock, ScopeSource, CourseHold, ""},
	{52, "d1.ess.barracudanetworks.com", StageData, 550, "", "permanent failure for one or more recipients (x@b.example:blocked)", IPBlock, ScopeSource, CourseHold, "weak"},
	{53, anyone, StageRcpt, 554, "5.7.1", "Service unavailable; Client host [192.0.2.1] blocked using dnsbl.b.example; Spam received", IPBlock, ScopeSource, CourseHold, "zone=dnsbl.b.example"},
	{54, anyone, StageRcpt, 554, "5.7.1", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; Error: open resolver; https://www.spamhaus.org/returnc/pub/198.51.100.53", TransientFailure, ScopeDestination, CourseRetry, ""},
	{54, anyone, StageRcpt, 554, "5.7.1", "blocked, see https://check.spamhaus.org/query/ip/192.0.2.1", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{55, "mx1.comcast.net", StageBanner, 554, "", "192.0.2.1 Comcast block. See http://postmaster.comcast.net/smtp-error-codes.php#BL000001", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{55, "mx1.comcast.net", StageBanner, 554, "", "See http://postmaster.comcast.net/smtp-error-codes.php#BL000110", IPBlock, ScopeSource, CourseHold, "zone="},
	{55, "mx1.comcast.net", StageBanner, 554, "", "See http://postmaster.comcast.net/smtp-error-codes.php#BL000000", IPBlock, ScopeSource, CourseHold, "zone="},
	{55, "mx1.comcast.net", StageMail, 421, "", "Try again later. See #RL000010", IPThrottle, ScopeSource, CourseSlow, ""},
	{55, "mx1.comcast.net", StageBanner, 550, "", "See #ES000010", BadConfiguration, ScopeNode, CourseHold, ""},
	{56, "cxr.mx.a.cloudfilter.net", StageMail, 550, "5.1.0", "<news@shoes.example> sender rejected. Refer to Error Codes section. AUP#CDRBL", IPBlock, ScopeSource, CourseHold, ""},
	{56, "cxr.mx.a.cloudfilter.cox.net", StageBanner, 554, "", "cox 192.0.2.1 blocked. Refer to Error Codes section: AUP#IPBL0001", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{56, "cxr.mx.a.cloudfilter.cox.net", StageBanner, 554, "", "refused. AUP#IPBL1010", IPBlock, ScopeSource, CourseHold, "zone="},
	{56, "cxr.mx.a.cloudfilter.cox.net", StageBanner, 554, "", "refused. AUP#CXBL", IPBlock, ScopeSource, CourseHold, ""},
	{56, "cxr.mx.a.cloudfilter.cox.net", StageBanner, 554, "", "refused. AUP#CDRBL", IPBlock, ScopeSource, CourseHold, ""},
	{56, "cxr.mx.a.cloudfilter.cox.net", StageBanner, 421, "", "too many sessions AUP#CXCNCT", RateLimited, ScopeSource, CourseSlow, ""},
	{56, "cxr.mx.a.cloudfilter.cox.net", StageBanner, 554, "", "refused. AUP#CXDNS", BadConfiguration, ScopeNode, CourseHold, ""},
	{57, "mx0.charter.net", StageBanner, 554, "", "refused. AUP#I-1000", IPBlock, ScopeSource, CourseHold, ""},
	{57, "mx0.charter.net", StageBanner, 554, "", "refused. AUP#I-1110", BadConfiguration, ScopeNode, CourseHold, ""},
	{57, "mx0.charter.net", StageBanner, 554, "", "refused. AUP#I-1210", IPBlock, ScopeSource, CourseHold, "zone="},
	{57, "mx0.charter.net", StageBanner, 554, "", "refused. AUP#I-1220", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{57, "mx0.charter.net", StageBanner, 421, "", "AUP#I-1310", RateLimited, ScopeSource, CourseSlow, ""},
	{57, "pkvw-mx.msg.pkvw.co.charter.net", StageMail, 550, "5.1.0", "<news@shoes.example> sender rejected. AUP#In-1310", RateLimited, ScopeSource, CourseSlow, ""},
	{57, "mx0.charter.net", StageMail, 421, "", "AUP#I-1490", IPThrottle, ScopeSource, CourseSlow, ""},
	{58, "mx00.gmx.net", StageBanner, 554, "", "gmx.net (mxgmx101) Nemesis ESMTP Service not available No SMTP service IP address is block listed. For explanation visit https://postmaster.gmx.net/en/case?c=r0201&i=ip&v=192.0.2.1", IPBlock, ScopeSource, CourseHold, ""},
	{58, "mx00.gmx.net", StageMail, 421, "", "Rate limit reached. Please try again later.", RateLimited, ScopeSource, CourseSlow, ""},
	{58, "mx00.kundenserver.de", StageRcpt, 450, "", "Requested mail action not taken: mailbox unavailable Reject due to policy violations", IPThrottle, ScopeSource, CourseSlow, ""},
	{59, "mx00.t-online.de", StageBanner, 554, "", "IP=192.0.2.1 - None/bad reputation. Ask your postmaster for help or to contact tobr@rx.t-online.de for reset. (NOWL)", IPBlock, ScopeSource, CourseHold, "weak"},
	{59, "mx00.t-online.de", StageBanner, 554, "", "IP=192.0.2.1 - A problem occurred. Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify. (BL)", IPBlock, ScopeSource, CourseHold, ""},
	{59, "mx00.t-online.de", StageBanner, 554, "", "IP=192.0.2.1 - Dialup/transparent mail proxy: contact toda@rx.t-online.de (DIAL)", BadConfiguration, ScopeNode, CourseHold, ""},
	{60, "smtp-in.orange.fr", StageBanner, 554, "", "ME Service refuse. Veuillez essayer plus tard. OFR006_101 [101]", IPBlock, ScopeSource, CourseHold, "zone=zen.spamhaus.org"},
	{60, "smtp-in.orange.fr", StageBanner, 550, "", "OFR006_102 Cloudmark", IPBlock, ScopeSource, CourseHold, ""},
	{60, "smtpz4.laposte.net", StageBanner, 550, "5.5.0", "Service refuse. LPN007_510", IPBlock, ScopeSource, CourseHold, "weak"},
	{60, "smtp-in.orange.fr", StageBanner, 421, "", "Trop de connexions, veuillez verifier votre configuration. OFR004_104 [104]", RateLimited, ScopeSource, CourseSlow, ""},
	{60, "smtp-in.orange.fr", StageData, 550, "5.7.0", "OFR_401", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{60, "smtp-in.orange.fr", StageData, 550, "5.7.1", "OFR_517 [517]", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{60, "smtp-in.orange.fr", StageRcpt, 550, "5.1.1", "Adresse d au moins un destinataire invalide. OFR_416 [416]", InvalidRecipient, ScopeRecipient, CourseBounce, ""},
	{60, "smtpz4.laposte.net", StageRcpt, 552, "5.1.1", "Boite du destinataire pleine. LPN_417", QuotaIssues, ScopeRecipient, CourseBounce, ""},
	{60, "smtp-in.orange.fr", StageRcpt, 550, "5.2.1", "Le compte du destinataire est archive. OFR_420 [420]", InactiveMailbox, ScopeRecipient, CourseBounce, ""},
	{60, "smtp-in.orange.fr", StageRcpt, 550, "5.1.1", "OFR_426 [426]", InactiveMailbox, ScopeRecipient, CourseBounce, ""},
	{60, "smtp-in.orange.fr", StageData, 550, "5.2.0", "Mail rejete. Mail rejected. OFR_506 [506]", SpamContent, ScopeMessage, CourseBounce, ""},
	{60, "smtpz4.laposte.net", StageRcpt, 554, "5.7.1", "<mx.b.example>: Client host rejected: #216 lpn LPN000_630", IPBlock, ScopeSource, CourseHold, "weak"},
	{61, "mx1.free.fr", StageMail, 550, "", "too many spams from your IP (192.0.2.1), please visit http://postmaster.free.fr/", IPBlock, ScopeSource, CourseHold, ""},
	{61, "mx1.free.fr", StageMail, 421, "", "too many errors from your ip (192.0.2.1), please visit http://postmaster.free.fr/", IPThrottle, ScopeSource, CourseSlow, ""},
	{61, "mx1.free.fr", StageData, 550, "", "spam detected", SpamContent, ScopeMessage, CourseBounce, ""},
	{62, "smtp-in.sfr.fr", StageRcpt, 554, "5.7.1", "<mx.b.example[192.0.2.1]>: Client host rejected: Abus detecte GU_EIB_02", IPBlock, ScopeSource, CourseHold, ""},
	{62, "smtp-in.sfr.fr", StageRcpt, 554, "5.7.1", "<mx.b.example[192.0.2.1]>: Client host rejected: Abus detecte GU_EIB_04", IPBlock, ScopeSource, CourseHold, ""},
	{63, "mail-in.tin.it", StageRcpt, 550, "", "mail not accepted from blacklisted IP address (192.0.2.1)", IPBlock, ScopeSource, CourseHold, ""},
	{63, "etb-1.mail.tiscali.it", StageRcpt, 550, "5.1.0", "<news@shoes.example> SPF Failed - not authorized", AuthenticationFailed, ScopeSender, CourseBounce, ""},
	{64, "mxs.mail.ru", StageData, 550, "", "spam message rejected. Please visit http://help.mail.ru/notspam-support", SpamContent, ScopeMessage, CourseBounce, ""},
	{64, "mx3.qq.com", StageMail, 550, "", "Ip frequency limited", IPThrottle, ScopeSource, CourseSlow, ""},
	{64, "163mx01.mxmail.netease.com", StageData, 554, "", "DT:SPM 163 mx1,b8KowAD 1234", SpamContent, ScopeMessage, CourseBounce, ""},
}

func TestFacts(t *testing.T) {
	seen := map[int]bool{}
	for _, f := range facts {
		seen[f.n] = true
		v := Classify(Reply{Host: f.host, Source: netip.MustParseAddr("192.0.2.1"), Stage: f.stage, Code: f.code, Enhanced: f.enhanced, Text: f.text})
		if v.Class != f.class || v.Scope != f.scope || v.Course != f.action {
			t.Errorf("fact %d: %d %s %s\n got %+v\nwant %s, scope %d, action %d", f.n, f.code, f.enhanced, f.text, v, f.class, f.scope, f.action)
		}
		if v.Provider != ProviderOf(f.host) || (f.host != anyone) != (v.Provider != "") {
			t.Errorf("fact %d: provider %q of %s", f.n, v.Provider, f.host)
		}
		if v.Range != (f.extra == "range") || v.Weak != (f.extra == "weak") {
			t.Errorf("fact %d: %+v, want %q", f.n, v, f.extra)
		}
		if len(f.extra) >= 5 && f.extra[:5] == "zone=" && v.Zone != f.extra[5:] {
			t.Errorf("fact %d: zone %q, want %q", f.n, v.Zone, f.extra)
		}
		if want := f.class == IPBlock && f.host != anyone && f.extra != "weak"; v.Evidence() != want {
			t.Errorf("fact %d: evidence %v: %+v", f.n, v.Evidence(), v)
		}
	}
	for n := 1; n <= 64; n++ {
		if !seen[n] {
			t.Errorf("fact %d has no row", n)
		}
	}
}
