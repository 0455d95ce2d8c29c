--- One request to one ICAP service (RFC 3507 §4.8, 4.9), on a connection that is open, and its answer.
--
-- The body goes out as it is read, and the answer is read at the same time: a server may answer before it has seen all,
-- or send the body back while it still comes, and neither side ever waits for the other to finish.

local body = require "icap.body"
local chunks = require "icap.chunks"
local heads = require "icap.heads"
local options_of = require "icap.options"

local concat, gmatch, match, sub = table.concat, string.gmatch, string.match, string.sub

local _M = {}

-- A body that is there whole and no longer than this goes out with its head in one send, without a thread: any
-- socket's buffers take it.
local INLINE_BYTES = 16384
-- The largest preview: with the last piece read for it, it is still held when a 204 lets the response pass.
local PREVIEW_MAX_BYTES = body.HOLD_BYTES - body.PIECE_BYTES

--- What is sent before the first body byte: the ICAP head and the encapsulated ones.
local function open_request(service, message, allows_204, preview_bytes)
    local fields = {
        { "Host", service.host },
        { "User-Agent", "icapd-nginx" },
    }
    for _, field in ipairs(message.fields) do
        fields[#fields + 1] = field
    end
    if allows_204 then
        fields[#fields + 1] = { "Allow", "204" }
    end
    if preview_bytes then
        fields[#fields + 1] = { "Preview", preview_bytes }
    end
    local request_bytes = #message.request_head
    local encapsulated
    if message.response_head then
        encapsulated = "req-hdr=0, res-hdr=" .. request_bytes .. ", res-body=" .. request_bytes + #message.response_head
    else
        encapsulated = "req-hdr=0, req-body=" .. request_bytes
    end
    fields[#fields + 1] = { "Encapsulated", encapsulated }
    local icap_head = heads.build(message.method .. " " .. service.url .. " ICAP/1.0", fields)
    return icap_head .. message.request_head .. (message.response_head or "")
end

--- Read the source until there are so many bytes, or it ends.
local function gather(source, count)
    local pieces, total = {}, 0
    while total < count and not source.has_ended do
        local piece, err = source:read()
        if not piece then
            if err then
                return nil, err
            end
            break
        end
        pieces[#pieces + 1] = piece
        total = total + #piece
    end
    return concat(pieces)
end

local function read_head(connection)
    local text, err = connection.reader:head(heads.MAX_BYTES)
    if not text then
        return nil, err
    end
    local start_line, fields = heads.parse(text)
    if not start_line then
        return nil, fields
    end
    local status = heads.status(start_line, "ICAP")
    if not status then
        return nil, "not an ICAP answer: " .. heads.one_line(start_line)
    end
    return status, fields
end

--- The writer: the rest of the body, to its last chunk.
local function send_body(connection, source, rest)
    local piece, err = rest, nil
    while piece do
        if piece ~= "" and not connection:send(chunks.frame(piece)) then
            return -- the reader learns of it, or has an early answer
        end
        connection.waits_for_source = true
        piece, err = source:read()
        connection.waits_for_source = false
        connection.progress_at = ngx.now()
        if connection.must_stop then
            return
        end
    end
    if err then
        connection.source_err = err
    elseif connection:send(chunks.LAST) then
        connection.has_sent_all = true
        connection.writer = nil
    end
end

--- What goes out in one send: the heads, and with them the preview, or all of a short body.
-- @return data for send; what was read of the body and is not among it; or nil and an error.
local function first_part(connection, head, source, preview_bytes)
    local is_short = (source.size_bytes or math.huge) <= INLINE_BYTES
    local gathered, err = gather(source, preview_bytes or (is_short and source.size_bytes) or 0)
    if not gathered then
        connection.source_err = err
        return nil, err
    end
    local part = preview_bytes and sub(gathered, 1, preview_bytes) or gathered
    local rest = sub(gathered, #part + 1)
    connection.has_sent_all = source.has_ended and rest == ""
    if not preview_bytes and not connection.has_sent_all then
        return head, gathered
    end
    local is_whole_preview = preview_bytes and connection.has_sent_all
    return { head, part ~= "" and chunks.frame(part) or "", is_whole_preview and chunks.LAST_IEOF or chunks.LAST }, rest
end

local function start_writer(connection, source, rest)
    -- Set before the thread runs: it may end, and clear it, before spawn returns.
    connection.writer = true
    local writer = ngx.thread.spawn(send_body, connection, source, rest)
    connection.writer = connection.writer and writer
end

--- Send the request and read the head of the final answer.
-- @return status, fields, whether 204 is legal; or nil and an error.
local function exchange(connection, service, message, options)
    local source = message.source
    local allows_204 = options.allows_204 and message.keeps_body
    local preview_bytes = options_of.preview_bytes(options, message.extension)
    preview_bytes = preview_bytes and math.min(preview_bytes, PREVIEW_MAX_BYTES)
    local head = open_request(service, message, allows_204, preview_bytes)
    local data, rest = first_part(connection, head, source, preview_bytes)
    if not data then
        return nil, rest
    end
    local ok, err = connection:send(data)
    if not ok then
        return nil, err
    end
    if preview_bytes then
        local status, fields = read_head(connection)
        if status ~= 100 or connection.has_sent_all then
            connection.has_sent_all = true -- a final answer to the preview: the rest is not wanted
            return status, fields, true
        end
    end
    if not connection.has_sent_all then
        start_writer(connection, source, rest)
    end
    local status, fields = read_head(connection)
    return status, fields, allows_204
end

local ITEMS = { ["req-hdr"] = "head", ["res-hdr"] = "head", ["req-body"] = "body", ["res-body"] = "body",
    ["null-body"] = "body" }

--- Read `res-hdr=0, res-body=213`.
-- @return name and length of the only head, name of the body; or nil and what is wrong.
local function parse_encapsulated(value)
    local items = {}
    for item in gmatch(value or "", "[^,]+") do
        local name, offset = match(item, "^%s*([%l-]+)=(%d+)%s*$")
        if not ITEMS[name] or #offset > 6 then
            return nil, "a malformed Encapsulated"
        end
        items[#items + 1] = { name = name, offset = tonumber(offset) }
    end
    local head, last = items[1], items[2]
    if #items ~= 2 or ITEMS[head.name] ~= "head" or ITEMS[last.name] ~= "body" or head.offset ~= 0
        or last.offset > heads.MAX_BYTES or (last.name ~= "null-body" and sub(last.name, 1, 3) ~= sub(head.name, 1, 3))
    then
        return nil, "an Encapsulated that we cannot use: " .. heads.one_line(value or "none")
    end
    return head.name, last.offset, last.name
end

local function no_piece() end

--- What an ICAP 200 carries.
-- @return { is_response, start_line, fields, read (nil: a request without a body) }, or nil and an error.
local function open_answer(connection, message, fields)
    local name, length, body_name = parse_encapsulated(heads.get(fields, "encapsulated"))
    if not name then
        return nil, length
    elseif message.method == "RESPMOD" and name ~= "res-hdr" then
        return nil, "a request as the answer to RESPMOD"
    end
    local text, err = connection.reader:exactly(length)
    if not text then
        return nil, err
    elseif sub(text, -4) ~= "\r\n\r\n" then
        return nil, "an encapsulated head that does not end where Encapsulated says"
    end
    local start_line, inner_fields = heads.parse(sub(text, 1, -3))
    if not start_line then
        return nil, inner_fields
    end
    local answer = { is_response = name == "res-hdr", start_line = start_line, fields = inner_fields }
    if answer.is_response then
        answer.status = heads.status(start_line, "HTTP")
        if not answer.status or answer.status < 200 then
            return nil, "not an HTTP status line: " .. heads.one_line(start_line)
        end
    end
    if body_name == "null-body" then
        connection.is_at_boundary = true
        answer.read = answer.is_response and no_piece or nil
        return answer
    end
    local next_piece = chunks.decoder(connection.reader, body.PIECE_BYTES)
    answer.read = function()
        local piece, read_err = next_piece()
        connection.is_at_boundary = not piece and not read_err
        return piece, read_err
    end
    return answer
end

--- Ask the service what it says of the message.
-- @param message { method, request_head, response_head, source, fields, extension, keeps_body }.
-- @return { is_unmodified } for 204, or what open_answer returns, with the ICAP answer's fields; or nil and an error.
--   Its `connection` is to be released when the body has been read.
function _M.ask(connection, service, message, options)
    local status, fields, may_be_204 = exchange(connection, service, message, options)
    if not status then
        return nil, fields
    end
    options_of.note_istag(service, heads.get(fields, "istag"))
    connection.must_close = heads.list(fields, "connection")["close"]
    local answer, err
    if status == 204 and may_be_204 then
        connection.is_at_boundary = true
        answer = { is_unmodified = true }
    elseif status == 200 or status == 201 then
        answer, err = open_answer(connection, message, fields)
        if not answer then
            return nil, err
        end
    else
        return nil, "ICAP status " .. status
    end
    -- From here on the answer takes the time its body takes; each read is still bounded.
    connection.deadline = math.huge
    answer.icap_fields = fields
    answer.connection = connection
    return answer
end

return _M
