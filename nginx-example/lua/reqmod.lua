--- Uploads: access_by_lua_file. Shows the request's body to the ICAP service; lets the request go on, or answers it.

local entry = require "icap.entry"
local heads = require "icap.heads"
local reply = require "icap.reply"
local request = require "icap.request"
local servers = require "icap.servers"
local takeover = require "icap.takeover"

local settings, body = entry.open("icap_reqmod")
if not body then
    return -- nothing to scan
end

local fields = request.fields()
-- nginx has read the whole body: whatever its framing was, its length is known now.
fields = heads.with_length(fields, body.size_bytes)
local message = {
    method = "REQMOD",
    request_head = request.head(fields),
    source = body,
    fields = request.sender(),
    extension = request.extension(),
    keeps_body = true,
    restart = function()
        return body:rewind()
    end,
}

local answer, seconds = servers.ask(settings, message)

if not answer then
    body:close()
    if settings.fails_open then
        return reply.record("bypassed", seconds)
    end
    reply.record("failed", seconds)
    return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE)
end

local connection = answer.connection
if answer.is_unmodified then
    reply.record("allowed", seconds, answer.icap_fields)
    connection:release()
    return body:close()
end

if answer.is_response then
    local ok, err = reply.send(answer.status, answer.fields, answer.read)
    reply.record(ok and "blocked" or "cut", seconds, answer.icap_fields)
    connection:release()
    body:close()
    if not ok then
        return reply.break_off(err)
    end
    return ngx.exit(ngx.HTTP_OK)
end

local ok, err = takeover.apply(answer, message.request_head, fields)
connection:release()
body:close()
if not ok then
    -- The body nginx held has been replaced in part: there is nothing left that could be let through.
    ngx.log(ngx.ERR, "icap: modified request: ", err)
    reply.record("failed", seconds, answer.icap_fields)
    return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE)
end
reply.record("replaced", seconds, answer.icap_fields)
