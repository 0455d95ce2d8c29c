--- Answers to the client, and the variables for the access log.

local heads = require "icap.heads"

local _M = {}

-- So much is given to nginx before we wait until the client has taken it: bounds the memory of a slow client.
local FLUSH_BYTES = 65536

--- A list as nginx's own $upstream_status is one: reqmod's value, a comma, respmod's.
local function append(variable, value)
    local before = ngx.var[variable]
    ngx.var[variable] = (before == "-" or not before) and value or before .. ", " .. value
end

--- What the server calls the threat, if it names one.
local function threat_of(fields)
    local found = heads.get(fields, "x-infection-found")
    local threat = found and found:match("Threat=%s*([^;]+)") or heads.get(fields, "x-virus-id")
        or heads.get(fields, "x-virus-name")
    return threat and heads.one_line(threat)
end

--- Put the outcome into $icap_verdict, $icap_threat, $icap_info and $icap_time.
-- @param verdict `allowed`, `blocked`, `replaced`, `cut` (the answer broke off), `bypassed` (asked in vain, let
--   through) or `failed` (asked in vain, refused).
-- @param seconds from the first byte sent to the answer's head.
-- @param fields of the ICAP answer, if there was one.
function _M.record(verdict, seconds, fields)
    append("icap_verdict", verdict)
    append("icap_threat", fields and threat_of(fields) or "-")
    append("icap_info", fields and heads.one_line(heads.get(fields, "x-response-info") or "-") or "-")
    append("icap_time", string.format("%.3f", seconds))
end

--- allowed or blocked: a server that sends a body back unchanged says so by keeping the status.
function _M.verdict_of(answer, status)
    return (threat_of(answer.icap_fields) or answer.status ~= status) and "blocked" or "allowed"
end

local function set_head(status, fields)
    ngx.status = status
    local values = {}
    for _, field in ipairs(heads.end_to_end(fields)) do
        local known = values[field.key]
        if not known then
            values[field.key] = { field[1], field[2] }
        else
            known[#known + 1] = field[2]
        end
    end
    for _, named in pairs(values) do
        local name = table.remove(named, 1)
        ngx.header[name] = named[2] and named or named[1]
    end
    if not values["content-type"] then
        ngx.header["Content-Type"] = nil -- nginx would add its default_type
    end
end

--- Send a whole response, as its body comes.
-- @param read function: the next piece; nil at the end; nil and an error; or nil: no body.
-- @return true, or nil and why the client did not get all of it; what was sent then must not look whole.
function _M.send(status, fields, read)
    local announced = heads.content_length(fields)
    if announced == false then
        return nil, "contradictory Content-Length"
    end
    set_head(status, fields)
    local pieces, count, held_bytes, all_bytes = {}, 0, 0, 0
    local err
    -- nginx may have made a 304 of it, for a client that has it already: then the body is left out.
    local function print_held()
        local ok, print_err = ngx.print(pieces)
        return ok or print_err == "header only", print_err
    end
    repeat
        local piece
        if read then
            piece, err = read()
        end
        if piece then
            count = count + 1
            pieces[count] = piece
            held_bytes = held_bytes + #piece
            all_bytes = all_bytes + #piece
        end
        if read and not err and announced and (all_bytes > announced or (not piece and all_bytes < announced)) then
            -- What is too much, the client would take for its next answer; what is missing, it would wait for.
            return nil, "a body of another length than its Content-Length"
        end
        if held_bytes >= FLUSH_BYTES then
            local ok, print_err = print_held()
            if ok then
                ok, print_err = ngx.flush(true)
            end
            if not ok and print_err ~= "header only" then
                return nil, print_err
            end
            pieces, count, held_bytes = {}, 0, 0
        end
    until not piece
    if err then
        return nil, err
    end
    if count > 0 then
        return print_held()
    end
    return ngx.send_headers()
end

--- End a response that has begun and will not be whole so that the client sees it: without a last chunk.
function _M.break_off(err)
    ngx.log(ngx.ERR, "icap: cut off: ", err)
    return ngx.exit(ngx.headers_sent and ngx.ERROR or ngx.HTTP_BAD_GATEWAY)
end

return _M
