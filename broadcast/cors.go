package broadcast

import "net/http"

// mayRead reports whether the request is for events and comes from a page that may read the answer: a page of any
// origin, or of an origin in Config.Origins.
func (srv *Server) mayRead(r *request) bool {
	return r.events && !r.upgrade && string(r.method) == http.MethodGet && srv.origins.checkOrigin(r) == nil
}

// appendCORS appends the headers that let a page of another origin read the answer (the Fetch standard, section 3.2).
// Requests of origins that may not read the answer were refused before. Without Config.Origins, any page may read it,
// but not with credentials, which the server does not use. Pages of listed origins may send credentials: a proxy in
// front may need its cookie.
func (srv *Server) appendCORS(dst []byte, r *request) []byte {
	listed := len(srv.cfg.Origins) > 0
	if listed {
		dst = append(dst, "Vary: Origin\r\n"...)
	}
	if r.origins != 1 {
		return dst
	}
	if !listed {
		return append(dst, "Access-Control-Allow-Origin: *\r\n"...)
	}
	dst = append(append(append(dst, "Access-Control-Allow-Origin: "...), r.origin...), crlf...)
	if string(r.origin) == "null" { // Any page can have this origin, in a sandbox of its own.
		return dst
	}
	return append(dst, "Access-Control-Allow-Credentials: true\r\n"...)
}

// preflight reports whether the request is a CORS preflight of a request for events (the Fetch standard, section 4.8).
// A page of another origin triggers one with a header such as Last-Event-ID.
func (r *request) preflight() bool {
	return string(r.method) == http.MethodOptions && r.origins == 1 && string(r.wants) == http.MethodGet
}

// answerPreflight appends the answer to a preflight.
func (srv *Server) answerPreflight(dst []byte, r *request) []byte {
	dst = append(dst, "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Methods: GET\r\n"+
		"Access-Control-Allow-Headers: Authorization, Last-Event-ID, Cache-Control, X-Requested-With\r\n"+
		"Access-Control-Max-Age: 86400\r\nConnection: close\r\n"...)
	return append(srv.appendCORS(dst, r), crlf...)
}
