// SPDX-License-Identifier: Apache-2.0

// The test application in Go (net/http/fcgi): see actor.c. Serves the socket on its standard input, or -listen ADDR.
package main

import (
	"crypto/md5"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

func pairs(query string) (map[string]string, []string) {
	v, headers := map[string]string{}, []string{}
	for _, pair := range strings.Split(query, "&") {
		k, x, _ := strings.Cut(pair, "=")
		x, _ = url.PathUnescape(x)
		if k == "header" {
			headers = append(headers, x)
		} else {
			v[k] = x
		}
	}
	return v, headers
}

func answer(w http.ResponseWriter, r *http.Request) {
	v, headers := pairs(r.URL.RawQuery)
	if ms, err := strconv.Atoi(v["sleep"]); err == nil {
		time.Sleep(time.Duration(ms) * time.Millisecond)
	}
	if v["die"] == "exit" {
		os.Exit(3)
	}
	w.Header().Set("Content-Type", "text/plain")
	for _, h := range headers {
		n, x, _ := strings.Cut(h, ":")
		w.Header().Add(n, x)
	}
	if v["location"] != "" {
		w.Header().Set("Location", v["location"])
	}
	if v["do"] == "echo" {
		if t := r.Header.Get("Content-Type"); t != "" {
			w.Header().Set("Content-Type", t)
		}
		if r.ContentLength >= 0 {
			w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
		}
	}
	if status, err := strconv.Atoi(v["status"]); err == nil {
		w.WriteHeader(status)
	}
	switch {
	case v["do"] == "env":
		lines := []string{}
		for k, x := range fcgi.ProcessEnv(r) {
			lines = append(lines, k+"="+x)
		}
		for k, x := range r.Header {
			lines = append(lines, "HTTP_"+strings.ToUpper(strings.ReplaceAll(k, "-", "_"))+"="+strings.Join(x, ", "))
		}
		sort.Strings(lines)
		fmt.Fprintln(w, strings.Join(lines, "\n"))
	case v["do"] == "echo":
		io.Copy(w, r.Body)
	case v["do"] == "sum":
		sum := md5.New()
		n, _ := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %x\n", n, sum.Sum(nil))
	case v["do"] == "pid":
		fmt.Fprintln(w, os.Getpid())
	case v["size"] != "":
		n, _ := strconv.Atoi(v["size"])
		out := make([]byte, n)
		for i := range out {
			out[i] = byte('a' + i%26)
			if i%64 == 63 {
				out[i] = '\n'
			}
		}
		w.Write(out)
	case v["drip"] != "":
		count, ms, _ := strings.Cut(v["drip"], ":")
		n, _ := strconv.Atoi(count)
		pause, _ := strconv.Atoi(ms)
		for i := 0; i < n; i++ {
			if i > 0 {
				time.Sleep(time.Duration(pause) * time.Millisecond)
			}
			fmt.Fprintf(w, "tick %d\n", i)
			w.(http.Flusher).Flush()
		}
	default:
		fmt.Fprintf(w, "hello from go pid %d\n", os.Getpid())
	}
}

func main() {
	listen := flag.String("listen", "", "unix:/path or host:port")
	flag.Parse()
	var l net.Listener
	if *listen != "" {
		network, address := "tcp", *listen
		if strings.HasPrefix(address, "unix:") {
			network, address = "unix", address[5:]
		}
		var err error
		if l, err = net.Listen(network, address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := fcgi.Serve(l, http.HandlerFunc(answer)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
