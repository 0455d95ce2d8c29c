--- A request that the ICAP service gave back: its fields and its body take the place of the client's.

local heads = require "icap.heads"

local _M = {}

-- What finish_body writes itself, or what belongs to the connection that the client has.
local KEPT = { ["content-length"] = true, ["host"] = true }

local function first_line(head)
    return head:match("^[^\r\n]*")
end

--- The values of each field name, in one text.
local function by_name(fields)
    local values = {}
    for _, field in ipairs(fields) do
        if not KEPT[field.key] then
            values[field.key] = values[field.key] or {}
            table.insert(values[field.key], field[2])
        end
    end
    return values
end

local function apply_fields(given, sent)
    local new, old = by_name(heads.end_to_end(given)), by_name(sent)
    for key, values in pairs(new) do
        if not old[key] or table.concat(values, "\n") ~= table.concat(old[key], "\n") then
            ngx.req.set_header(key, values)
        end
    end
    for key in pairs(old) do
        if not new[key] then
            ngx.req.clear_header(key)
        end
    end
end

--- @param sent_head, sent_fields the request as it was encapsulated.
-- @return true, or nil and an error: the client's body is then gone.
function _M.apply(answer, sent_head, sent_fields)
    -- Another method or target would have to be routed anew; no scanner does that.
    if answer.start_line ~= first_line(sent_head) then
        return nil, "another request line: " .. heads.one_line(answer.start_line)
    end
    if not answer.read then
        ngx.req.set_body_data("")
    else
        ngx.req.init_body()
        repeat
            local piece, err = answer.read()
            if err then
                return nil, err
            end
            if piece then
                ngx.req.append_body(piece)
            end
        until not piece
        ngx.req.finish_body()
    end
    apply_fields(answer.fields, sent_fields)
    return true
end

return _M
