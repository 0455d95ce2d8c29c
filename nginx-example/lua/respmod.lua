--- Downloads: content_by_lua_file. Fetches the response from the inner server, shows it to the ICAP service, and sends
-- on what that answers.

local body_of = require "icap.body"
local entry = require "icap.entry"
local heads = require "icap.heads"
local inner = require "icap.inner"
local reply = require "icap.reply"
local request = require "icap.request"
local servers = require "icap.servers"

local settings, body = entry.open("icap_respmod")
local method = ngx.req.get_method()
-- Asked twice, these change nothing: the response may be fetched again when it is needed again.
local is_repeatable = (method == "GET" or method == "HEAD") and not body
local fields = request.fields()
if settings.drops_ranges then
    -- A fragment can be clean where the whole is not. Any range may be answered with the whole (RFC 9110 §14.2).
    fields = heads.without(fields, { ["range"] = true, ["if-range"] = true })
end
if body then
    fields = heads.with_length(fields, body.size_bytes)
end

--- The request as the inner server gets it: with who asked, which a Unix socket does not say.
local function inner_head()
    local var = ngx.var
    local added = heads.without(fields, { ["x-real-ip"] = true, ["x-forwarded-proto"] = true })
    added[#added + 1] = { "X-Real-IP", var.remote_addr }
    added[#added + 1] = { "X-Forwarded-Proto", var.scheme }
    return heads.build(method .. " " .. request.target() .. " HTTP/1.1", added)
end

local response, fetch_err = inner.fetch(settings.inner, inner_head(), body)
if body then
    body:close()
end
if not response then
    ngx.log(ngx.ERR, "icap: inner server: ", fetch_err)
    return ngx.exit(ngx.HTTP_BAD_GATEWAY)
end

--- The response as it came, what was read of it first.
local function pass()
    local source = response.body
    local ok, err = reply.send(response.status, response.fields, source and function()
        return source:read()
    end)
    response:release()
    if not ok then
        return reply.break_off(err)
    end
end

if not response.body then
    return pass() -- nothing to scan
end

local message = {
    method = "RESPMOD",
    request_head = request.head(fields),
    fields = request.sender(),
    extension = request.extension(),
}

local function show(fetched)
    message.response_head = heads.build(fetched.start_line, fetched.fields)
    message.source = fetched.body
    -- Only so much is held that it could be sent when the service says "as it was" after having seen it all.
    message.keeps_body = (fetched.body.size_bytes or math.huge) <= body_of.HOLD_BYTES
end

--- From the start once more, for another service or for the client: from what is held, or fetched again.
function message.restart()
    if response.body:rewind() then
        return true
    end
    response:release()
    if not is_repeatable then
        return false
    end
    local again, err = inner.fetch(settings.inner, inner_head())
    if not again or not again.body then
        ngx.log(ngx.ERR, "icap: inner server, asked again: ", err or "no body this time")
        return false
    end
    response = again
    show(again)
    return true
end

show(response)
local answer, seconds, is_source = servers.ask(settings, message)

if is_source then
    reply.record("failed", seconds)
    response:release()
    return ngx.exit(ngx.HTTP_BAD_GATEWAY)
elseif not answer then
    if settings.fails_open and message.restart() then
        reply.record("bypassed", seconds)
        return pass()
    end
    reply.record("failed", seconds)
    response:release()
    return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE)
end

local connection = answer.connection

if answer.is_unmodified then
    connection:stop_writer(true)
    connection:release()
    -- What was judged, and never a second fetch: that could be something else.
    local is_held = response.body:rewind()
    reply.record(is_held and "allowed" or "cut", seconds, answer.icap_fields)
    if not is_held then
        response:release()
        return reply.break_off("the response that was let through is gone")
    end
    return pass()
end

local ok, err = reply.send(answer.status, answer.fields, answer.read)
-- Only now: a server that scans while it sends back says what it found by breaking off.
reply.record(ok and reply.verdict_of(answer, response.status) or "cut", seconds, answer.icap_fields)
connection:release()
response:release()
if not ok then
    return reply.break_off(err)
end
